use tasker_test_support::RedisSentinel;

#[tokio::test]
async fn the_replica_becomes_the_primary_when_the_primary_is_killed() {
    let watched = RedisSentinel::start().await.unwrap();
    assert_eq!(watched.sentinels().len(), 3);
    watched.until_primary(0).await.unwrap();
    watched.servers()[0].kill().await.unwrap();
    watched.until_primary(1).await.unwrap();
}

use std::net::TcpStream;

use tasker_test_support::{RedisCluster, RedisServer, redis_connection};

/// `foo` is in this slot.
const SLOT: u16 = 12182;

async fn ask(server: &RedisServer, words: &[&str]) -> redis::RedisResult<String> {
    let mut command = redis::Cmd::new();
    let connection = &mut redis_connection(&server.url()).await?;
    command.arg(words).query_async(connection).await
}

/// Writes, and waits until a replica has it.
async fn write_twice(server: &RedisServer, key: &str, value: &str) {
    let mut both = redis::pipe();
    both.cmd("SET").arg(key).arg(value);
    both.cmd("WAIT").arg(1).arg(5000);
    let connection = &mut redis_connection(&server.url()).await.unwrap();
    let (_, copies): (String, u64) = both.query_async(connection).await.unwrap();
    assert_eq!(copies, 1);
}

#[tokio::test]
async fn a_cluster_serves_each_slot_at_one_node_and_survives_the_loss_of_a_primary() {
    let cluster = RedisCluster::start(3, 1).await.unwrap();
    assert_eq!(cluster.addresses().len(), 6);
    let owner = cluster.primary_of(SLOT).await.unwrap();
    assert_eq!(owner, 2);
    write_twice(&cluster.nodes()[owner], "foo", "bar").await;
    let moved = ask(&cluster.nodes()[0], &["GET", "foo"]).await.unwrap_err();
    assert_eq!(moved.code(), Some("MOVED"));

    cluster.nodes()[owner].kill().await.unwrap();
    cluster.until_well().await.unwrap();
    let heir = cluster.primary_of(SLOT).await.unwrap();
    assert_eq!(heir, 5);
    assert_eq!(
        ask(&cluster.nodes()[heir], &["GET", "foo"]).await.unwrap(),
        "bar"
    );
}

#[tokio::test]
async fn slots_move_with_their_keys() {
    let cluster = RedisCluster::start(3, 0).await.unwrap();
    ask(&cluster.nodes()[2], &["SET", "foo", "bar"])
        .await
        .unwrap();
    cluster.move_slots(SLOT..SLOT + 2, 2, 0).await.unwrap();
    assert_eq!(
        ask(&cluster.nodes()[0], &["GET", "foo"]).await.unwrap(),
        "bar"
    );
    cluster.until_well().await.unwrap();
    assert_eq!(cluster.primary_of(SLOT).await.unwrap(), 0);
    assert_eq!(cluster.primary_of(SLOT + 2).await.unwrap(), 2);
}

#[tokio::test]
async fn a_cluster_is_gone_after_drop() {
    let cluster = RedisCluster::start(3, 0).await.unwrap();
    assert_eq!(cluster.primary_of(SLOT).await.unwrap(), 2);
    let ports: Vec<u16> = cluster.nodes().iter().map(RedisServer::port).collect();
    // A node that does not run on must go all the same.
    cluster.nodes()[0].freeze().unwrap();
    drop(cluster);
    for port in ports {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

use std::net::TcpStream;
use std::time::{Duration, Instant};

use tasker_test_support::{RedisServer, redis_connection};

async fn ping(url: &str) -> redis::RedisResult<String> {
    let client = redis::Client::open(url)?;
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_millis(500)))
        .set_response_timeout(Some(Duration::from_millis(500)));
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    redis::cmd("PING").query_async(&mut connection).await
}

#[tokio::test]
async fn a_server_answers_by_port_and_by_unix_socket() {
    let server = RedisServer::start().await.unwrap();
    assert_eq!(ping(&server.url()).await.unwrap(), "PONG");
    assert_eq!(ping(&server.unix_url()).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_killed_server_refuses_and_comes_back_empty_on_its_port() {
    let server = RedisServer::start().await.unwrap();
    let mut connection = redis_connection(&server.url()).await.unwrap();
    let () = redis::cmd("SET")
        .arg("key")
        .arg(1)
        .query_async(&mut connection)
        .await
        .unwrap();

    server.kill().await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());

    server.restart().await.unwrap();
    let mut connection = redis_connection(&server.url()).await.unwrap();
    let size: u64 = redis::cmd("DBSIZE")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(size, 0);
}

#[tokio::test]
async fn a_frozen_server_is_silent_until_it_is_thawed() {
    let server = RedisServer::start().await.unwrap();
    server.freeze().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_ok());
    assert!(ping(&server.url()).await.is_err());
    server.thaw().unwrap();
    assert_eq!(ping(&server.url()).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_frozen_server_is_gone_after_drop() {
    let server = RedisServer::start().await.unwrap();
    let port = server.port();
    server.freeze().unwrap();
    let start = Instant::now();
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it was killed, not stopped"
    );
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let server = RedisServer::start_with(&["--requirepass", "secret"])
        .await
        .unwrap();
    assert!(ping(&server.url()).await.is_err());
    let url = format!("redis://:secret@127.0.0.1:{}", server.port());
    assert_eq!(ping(&url).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let error = RedisServer::start_with(&["--no-such-setting", "1"])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no-such-setting"), "{error}");
}

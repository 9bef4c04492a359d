use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tasker_test_support::{RedisServer, TcpProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_millis(300);

async fn connect(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(LIMIT))
        .set_response_timeout(Some(LIMIT));
    redis::Client::open(url)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

async fn ping(connection: &mut MultiplexedConnection) -> redis::RedisResult<String> {
    redis::cmd("PING").query_async(connection).await
}

async fn server_and_proxy() -> (RedisServer, TcpProxy) {
    let server = RedisServer::start().await.unwrap();
    let proxy = TcpProxy::before(&server.url()).await.unwrap();
    (server, proxy)
}

#[tokio::test]
async fn a_delay_holds_answers_back() {
    let (_server, proxy) = server_and_proxy().await;
    let mut connection = connect(proxy.url()).await.unwrap();
    proxy.delay(Duration::from_millis(50)).await;
    let start = Instant::now();
    assert_eq!(ping(&mut connection).await.unwrap(), "PONG");
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_stall_holds_some_pieces_back_and_lets_others_pass() {
    let (_server, proxy) = server_and_proxy().await;
    let mut connection = connect(proxy.url()).await.unwrap();
    proxy.stall(50, Duration::from_millis(100)).await;
    let (mut held_back, mut passed) = (false, false);
    // A round trip passes both ways with one chance in four.
    for _ in 0..100 {
        let start = Instant::now();
        assert_eq!(ping(&mut connection).await.unwrap(), "PONG");
        let took = start.elapsed();
        held_back |= took >= Duration::from_millis(100);
        passed |= took < Duration::from_millis(100);
        if held_back && passed {
            return;
        }
    }
    panic!("held back: {held_back}, passed: {passed}");
}

#[tokio::test]
async fn a_half_open_connection_is_silent_and_then_goes_on() {
    let (_server, proxy) = server_and_proxy().await;
    let mut connection = connect(proxy.url()).await.unwrap();
    proxy.half_open().await;
    assert!(ping(&mut connection).await.unwrap_err().is_timeout());
    proxy.forward().await;
    assert_eq!(ping(&mut connection).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_black_hole_swallows_new_connections_only() {
    let (_server, proxy) = server_and_proxy().await;
    let mut old = connect(proxy.url()).await.unwrap();
    proxy.black_hole().await;
    assert!(connect(proxy.url()).await.is_err());
    assert_eq!(ping(&mut old).await.unwrap(), "PONG");
    proxy.forward().await;
    assert!(connect(proxy.url()).await.is_ok());
}

#[tokio::test]
async fn a_black_hole_keeps_nothing_of_clients_that_are_gone() {
    let (_server, proxy) = server_and_proxy().await;
    proxy.black_hole().await;
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap();
    client.write_all(b"PING\r\n").await.unwrap();
    let mut answer = Vec::new();
    let silence = tokio::time::timeout(LIMIT, client.read_to_end(&mut answer)).await;
    assert!(silence.is_err(), "closed while the client waits");
    client.shutdown().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut answer))
        .await
        .expect("still open")
        .unwrap();
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn refusing_and_cutting_leave_nothing() {
    let (_server, proxy) = server_and_proxy().await;
    let mut old = connect(proxy.url()).await.unwrap();
    proxy.refuse().await;
    assert!(
        TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .is_err()
    );
    assert_eq!(ping(&mut old).await.unwrap(), "PONG");
    proxy.cut().await;
    assert!(ping(&mut old).await.is_err());
    proxy.forward().await;
    assert!(connect(proxy.url()).await.is_ok());
}

use std::net::TcpStream;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tasker_test_support::PostgresServer;

async fn scalar(connection: &mut PgConnection, sql: &'static str) -> sqlx::Result<i32> {
    sqlx::query_scalar(sql).fetch_one(connection).await
}

#[tokio::test]
async fn a_killed_server_keeps_what_was_committed() {
    let server = PostgresServer::start_with(&[("log_statement", "all")])
        .await
        .unwrap();
    let mut connection = PgConnection::connect(&server.url("postgres"))
        .await
        .unwrap();
    sqlx::query("create table kept as select 42 as number")
        .execute(&mut connection)
        .await
        .unwrap();

    server.kill().await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    assert!(scalar(&mut connection, "select 1").await.is_err());

    server.restart().await.unwrap();
    let mut connection = PgConnection::connect(&server.url("postgres"))
        .await
        .unwrap();
    assert_eq!(
        scalar(&mut connection, "select number from kept")
            .await
            .unwrap(),
        42
    );
    assert!(server.log().contains("select number from kept"));
}

#[tokio::test]
async fn a_frozen_server_is_silent_until_it_is_thawed() {
    let server = PostgresServer::start().await.unwrap();
    let mut connection = PgConnection::connect(&server.url("postgres"))
        .await
        .unwrap();
    server.freeze().unwrap();
    {
        let mut query = std::pin::pin!(scalar(&mut connection, "select 7"));
        let limit = Duration::from_millis(300);
        assert!(tokio::time::timeout(limit, &mut query).await.is_err());
        server.thaw().unwrap();
        assert_eq!(query.await.unwrap(), 7);
    }
    server.freeze().unwrap();
    let port = server.port();
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let error = PostgresServer::start_with(&[("no_such_setting", "1")])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

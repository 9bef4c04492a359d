//! Owns one server of each kind, prints their ports and a socket, and waits to be killed. Tests kill it and see
//! that nothing is left.

use std::io::Write;

use tasker_testkit::{PostgresServer, RedisServer, TestkitError};

#[tokio::main]
async fn main() -> Result<(), TestkitError> {
    let postgres = PostgresServer::start().await?;
    let redis = RedisServer::start().await?;
    let socket = redis.unix_url().unwrap_or_default();
    let line = format!("{} {} {socket}\n", postgres.port(), redis.port());
    std::io::stdout()
        .write_all(line.as_bytes())
        .expect("somebody reads our output");
    std::future::pending().await
}

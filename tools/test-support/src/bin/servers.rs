//! Runs a PostgreSQL and a Redis until it is ended, for trying things by hand.
//!
//! Prints the servers' URLs, and that of Redis's socket, a line each. However this program ends,
//! its servers end with it.

use std::io::{self, Write};

use tasker_test_support::{PostgresServer, RedisServer, Result};

#[tokio::main]
async fn main() -> Result {
    let postgres = PostgresServer::start().await?;
    let redis = RedisServer::start().await?;
    let urls = [postgres.url("postgres"), redis.url(), redis.unix_url()];
    writeln!(io::stdout(), "{}", urls.join("\n"))?;
    Ok(tokio::signal::ctrl_c().await?)
}

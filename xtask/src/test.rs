//! `cargo xtask test`

use crate::cargo::{cargo, succeed};
use crate::error::XtaskError;
use crate::servers;

/// Runs all tests of the workspace, doc tests included, with a PostgreSQL and a Redis.
pub(crate) async fn run(arguments: &[String], may_install: bool) -> Result<(), XtaskError> {
    let postgres = servers::postgres(may_install).await?;
    let redis = servers::redis(may_install).await?;
    let mut command = cargo();
    command
        .args(["test", "--workspace", "--all-features", "--no-fail-fast"])
        .args(arguments)
        .env("DATABASE_URL", postgres.url())
        .env("REDIS_URL", redis.url());
    succeed(command).await
}

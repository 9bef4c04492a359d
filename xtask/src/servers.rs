//! The PostgreSQL and the Redis that a task needs.

use tasker_testkit::{Postgres, Redis, TestkitError, redacted};

use crate::error::XtaskError;
use crate::install;

/// A PostgreSQL, from wherever it can be had; installed first where `may_install` allows it.
pub(crate) async fn postgres(may_install: bool) -> Result<Postgres, XtaskError> {
    let postgres = match Postgres::acquire().await {
        Err(TestkitError::NotInstalled { debian_package, .. })
            if may_install && install::possible() =>
        {
            install::packages(&[debian_package]).await?;
            Postgres::acquire().await?
        }
        outcome => outcome?,
    };
    println!(
        "PostgreSQL  {}  ({})",
        redacted(postgres.url()),
        postgres.origin()
    );
    Ok(postgres)
}

/// A Redis, from wherever it can be had; installed first where `may_install` allows it.
pub(crate) async fn redis(may_install: bool) -> Result<Redis, XtaskError> {
    let redis = match Redis::acquire().await {
        Err(TestkitError::NotInstalled { debian_package, .. })
            if may_install && install::possible() =>
        {
            install::packages(&[debian_package]).await?;
            Redis::acquire().await?
        }
        outcome => outcome?,
    };
    println!(
        "Redis       {}  ({})",
        redacted(redis.url()),
        redis.origin()
    );
    Ok(redis)
}

//! The PostgreSQL and the Redis that a task needs.

use tasker_test_support::{Postgres, PostgresServer, Redis, RedisServer, TestkitError, redacted};

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

/// A PostgreSQL of our own, to stop and restart; installed first where `may_install` allows it.
pub(crate) async fn own_postgres(may_install: bool) -> Result<PostgresServer, XtaskError> {
    match PostgresServer::start().await {
        Err(TestkitError::NotInstalled { debian_package, .. })
            if may_install && install::possible() =>
        {
            install::packages(&[debian_package]).await?;
            Ok(PostgresServer::start().await?)
        }
        outcome => Ok(outcome?),
    }
}

/// A Redis of our own, to kill and freeze; installed first where `may_install` allows it.
pub(crate) async fn own_redis(may_install: bool) -> Result<RedisServer, XtaskError> {
    match RedisServer::start().await {
        Err(TestkitError::NotInstalled { debian_package, .. })
            if may_install && install::possible() =>
        {
            install::packages(&[debian_package]).await?;
            Ok(RedisServer::start().await?)
        }
        outcome => Ok(outcome?),
    }
}

//! Runs a command with a PostgreSQL and a Redis:
//! `with-servers [--pooler] [--migrations FOLDER] COMMAND...`
//!
//! `DATABASE_URL` and `REDIS_URL` name the servers to the command. They are those that the
//! variables name already if these answer, else servers that end with this program. With
//! `--migrations`, `DATABASE_URL` names a new database with these migrations, which is dropped
//! afterwards. With `--pooler`, tests reach PostgreSQL through a pgbouncer in transaction mode.

use std::process::{ExitCode, ExitStatus};

use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};
use tasker_test_support::{
    PgBouncer, Result, TestDatabase, causes, delete_redis_keys, postgres, redis,
};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// The keys of tests: their prefix has the name of a [`TestDatabase`].
const TEST_KEYS: &str = "it_tasker_test_*";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            ExitCode::from(code.unwrap_or(1))
        }
        Err(error) => {
            eprintln!("error: {}", causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitStatus> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let has_pooler = arguments
        .next_if(|argument| argument == "--pooler")
        .is_some();
    let migrations = arguments
        .next_if(|argument| argument == "--migrations")
        .and_then(|_| arguments.next());
    let program = arguments
        .next()
        .ok_or("usage: with-servers [--pooler] [--migrations FOLDER] COMMAND...")?;
    let (postgres, redis) = tokio::try_join!(postgres(), redis())?;
    eprintln!("PostgreSQL  {postgres}\nRedis       {redis}");
    let database = match migrations {
        Some(folder) => Some(migrated(folder.as_ref()).await?),
        None => None,
    };
    let database_url = database.as_ref().map_or(postgres.url(), TestDatabase::url);
    let pooler = if has_pooler {
        Some(PgBouncer::before(postgres.url(), "transaction").await?)
    } else {
        None
    };
    // Ctrl-C reaches the command as well, which ends by itself; then the database is dropped.
    let _interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut command = Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", database_url)
        .env("REDIS_URL", redis.url())
        .env(
            "TASKER_TEST_POOLER",
            pooler.as_ref().map_or("", PgBouncer::url),
        )
        .kill_on_drop(true)
        .spawn()?;
    let status = tokio::select! {
        status = command.wait() => status?,
        _ = terminated.recv() => return Err("terminated".into()),
    };
    // Tests may have left keys in a Redis that is somebody's.
    delete_redis_keys(redis.url(), TEST_KEYS).await?;
    Ok(status)
}

async fn migrated(folder: &std::path::Path) -> Result<TestDatabase> {
    let database = TestDatabase::create().await?;
    let mut connection = PgConnection::connect(database.url()).await?;
    Migrator::new(folder).await?.run(&mut connection).await?;
    connection.close().await?;
    Ok(database)
}

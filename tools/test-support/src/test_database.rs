//! A database of a test's own.

use std::thread;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use url::Url;
use uuid::Uuid;

use crate::{Result, postgres};

const EXISTING_WORKSPACE: &str = include_str!("existing_workspace.sql");
const DROP_DEADLINE: Duration = Duration::from_secs(10);

/// An empty database with a unique name. It is dropped with its connections on drop. A test process
/// that is killed leaves it behind on a server that it did not start.
#[derive(Debug)]
pub struct TestDatabase {
    admin_url: String,
    url: String,
    name: String,
}

impl TestDatabase {
    /// Creates a database on this process's PostgreSQL, see [`postgres`](crate::postgres).
    pub async fn create() -> Result<Self> {
        Self::create_on(postgres().await?.url()).await
    }

    /// Creates a database on the server of this URL, whose user must have the right to.
    pub async fn create_on(admin_url: &str) -> Result<Self> {
        let name = format!("tasker_test_{}", Uuid::now_v7().simple());
        let mut url = Url::parse(admin_url)?;
        url.set_path(&name);
        // template0 accepts no connections, so databases can be created concurrently.
        execute(
            admin_url,
            format!("CREATE DATABASE {name} TEMPLATE template0"),
        )
        .await?;
        Ok(Self {
            admin_url: admin_url.to_owned(),
            url: url.into(),
            name,
        })
    }

    /// Creates a database with the schema, and some rows, of a workspace that existed before this
    /// software. Its time zone is not UTC.
    pub async fn create_existing_workspace() -> Result<Self> {
        let database = Self::create().await?;
        let zone = format!(
            "ALTER DATABASE {} SET timezone = 'America/New_York'",
            database.name
        );
        execute(&database.admin_url, zone).await?;
        execute(&database.url, EXISTING_WORKSPACE.to_owned()).await?;
        Ok(database)
    }

    /// Returns the database's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    /// Gives up after a while, because the test may have killed the server.
    fn drop(&mut self) {
        let url = std::mem::take(&mut self.admin_url);
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A task of a runtime cannot block on that runtime.
        let dropper = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let _ = tokio::time::timeout(DROP_DEADLINE, execute(&url, statement)).await;
            });
            Ok::<_, std::io::Error>(())
        });
        let _ = dropper.join();
    }
}

/// Runs one statement, whose text contains only names of this file, on a new connection.
async fn execute(url: &str, statement: String) -> Result {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(connection.close().await?)
}

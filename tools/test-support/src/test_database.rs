//! A database of a test's own.

use std::thread;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use url::Url;
use uuid::Uuid;

use crate::{TestkitError, acquired};

const DROP_DEADLINE: Duration = Duration::from_secs(10);

/// An empty database with a name that nobody else has. It is dropped on drop, with whatever is
/// still connected to it; a test process that is killed leaves it behind on a server that is not
/// ours.
#[derive(Debug)]
pub struct TestDatabase {
    admin_url: String,
    url: String,
    name: String,
}

impl TestDatabase {
    /// Creates a database on this process's PostgreSQL, see [`postgres`](crate::postgres).
    pub async fn create() -> Result<Self, TestkitError> {
        Self::create_on(acquired::postgres().await?.url()).await
    }

    /// Creates a database on the server of this URL, whose user must be allowed to.
    pub async fn create_on(admin_url: &str) -> Result<Self, TestkitError> {
        let name = format!("tasker_test_{}", Uuid::now_v7().simple());
        let mut url = Url::parse(admin_url)?;
        url.set_path(&name);
        // Nobody can be connected to template0, so databases can be created side by side.
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

    /// The database's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    /// Best effort, and bounded: the server may be the very thing that the test has killed.
    fn drop(&mut self) {
        let url = std::mem::take(&mut self.admin_url);
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The runtime that we may be in cannot be waited for from within.
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

/// Runs one statement on a connection of its own. Its text holds nothing but our own names.
async fn execute(url: &str, statement: String) -> Result<(), TestkitError> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(connection.close().await?)
}

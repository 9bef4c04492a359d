//! The database, as options.

use std::time::Duration;

use clap::Args;
use sqlx::{Connection, PgConnection, PgPool};
use tasker_shared::config::ConfigLoader;
use tasker_shared::config::tasker::DatabaseConfig;
use tasker_shared::database::{DatabaseError, pool};
use tokio::time::timeout;

use crate::error::CliError;

/// The database, as options.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseArgs {
    /// The URL of PostgreSQL; by default that of the configuration, which reads `DATABASE_URL`.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

impl DatabaseArgs {
    /// Returns a pool, after a first connection.
    ///
    /// # Errors
    /// [`CliError::Config`] if the configuration is wrong, [`CliError::Database`] if PostgreSQL cannot
    /// be connected to.
    pub(crate) async fn connect(&self) -> Result<PgPool, CliError> {
        let config = ConfigLoader::load_from_process()?.common.database;
        self.connect_with(config).await
    }

    /// Does the same with the database of a loaded configuration.
    pub(crate) async fn connect_with(
        &self,
        mut config: DatabaseConfig,
    ) -> Result<PgPool, CliError> {
        if let Some(url) = &self.database_url
            && config.url != *url
        {
            // The way to another server is not configured.
            config = DatabaseConfig {
                url: url.clone(),
                pool: config.pool,
                ..DatabaseConfig::default()
            };
        }
        let pool = pool::create(&config)?;
        // Not through the pool, which tries again until its time is up, and then hides the cause.
        let limit = Duration::from_secs(config.pool.acquire_timeout_seconds.into());
        let options = pool.connect_options();
        let connecting = PgConnection::connect_with(&options);
        let connection = timeout(limit, connecting)
            .await
            .map_err(|_elapsed| DatabaseError::Late(limit))?
            .map_err(DatabaseError::from)?;
        connection.close().await.ok();
        Ok(pool)
    }
}

//! The database, as options.

use clap::Args;
use sqlx::PgPool;
use tasker_shared::config::ConfigLoader;
use tasker_shared::database::pool;

use crate::error::CliError;

/// The database, as options.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseArgs {
    /// The URL of PostgreSQL; by default that of the configuration.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
}

impl DatabaseArgs {
    /// Returns a pool, which has connected once.
    ///
    /// # Errors
    /// [`CliError::Config`] if the configuration is wrong, [`CliError::Database`] if PostgreSQL cannot
    /// be connected to.
    pub(crate) async fn connect(&self) -> Result<PgPool, CliError> {
        let mut config = ConfigLoader::load_from_process()?.common.database;
        if let Some(url) = &self.database_url {
            config.url.clone_from(url);
        }
        let pool = pool::create(&config)?;
        drop(
            pool.acquire()
                .await
                .map_err(tasker_shared::database::DatabaseError::from)?,
        );
        Ok(pool)
    }
}

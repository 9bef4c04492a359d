//! Brings the schema `tasker` up to date.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use super::DatabaseError;

/// The longest time that migrating may take in all: waiting for other instances that migrate, and
/// filling the versions of templates that are registered already.
const LIMIT: Duration = Duration::from_mins(5);

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("./migrations");
    // A table of our own: the database may have been made by other software, which keeps its
    // migrations in the usual place.
    migrator.create_schema("tasker");
    migrator.dangerous_set_table_name("tasker._tasker_shared_migrations");
    migrator
});

/// Applies the migrations that are missing. Instances that start together take turns; all but
/// the first find nothing to do.
///
/// Uses a connection beside the pool, which must be a direct one: advisory locks do not work
/// through a pooler in transaction mode.
///
/// # Errors
/// [`DatabaseError::Late`] after five minutes. Each migration is applied whole or not at all.
pub async fn migrate(pool: &PgPool) -> Result<(), DatabaseError> {
    let migrated = timeout(LIMIT, async {
        let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
        MIGRATOR.run_direct(None, &mut connection, false).await?;
        // Migrated is migrated, whether the server hears our good-bye or not.
        connection.close().await.ok();
        Ok(())
    });
    migrated
        .await
        .map_err(|_elapsed| DatabaseError::Late(LIMIT))?
}

/// A migration that a database lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingMigration {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub description: String,
}

/// Returns the migrations that are missing, in their order. Changes nothing.
///
/// # Errors
/// [`DatabaseError::Migration`] if an applied migration has another content here, and would be
/// refused by [`migrate`]; [`DatabaseError::Failed`] if PostgreSQL fails.
pub async fn pending(pool: &PgPool) -> Result<Vec<PendingMigration>, DatabaseError> {
    let exists = "SELECT to_regclass('tasker._tasker_shared_migrations') IS NOT NULL";
    let exists: bool = sqlx::query_scalar(exists).fetch_one(pool).await?;
    let applied: Vec<(i64, Vec<u8>)> = if exists {
        sqlx::query_as(
            "SELECT version, checksum FROM tasker._tasker_shared_migrations WHERE success",
        )
        .fetch_all(pool)
        .await?
    } else {
        Vec::new()
    };
    let mut pending = Vec::new();
    for migration in MIGRATOR.iter() {
        match applied
            .iter()
            .find(|(version, _)| *version == migration.version)
        {
            Some((version, checksum)) if *checksum != *migration.checksum => {
                return Err(sqlx::migrate::MigrateError::VersionMismatch(*version).into());
            }
            Some(_) => {}
            None => pending.push(PendingMigration {
                version: migration.version,
                description: migration.description.to_string(),
            }),
        }
    }
    Ok(pending)
}

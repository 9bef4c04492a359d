//! Brings the schema `tasker` up to date.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use super::pool::CLIENT_CHECK_INTERVAL;
use super::{DatabaseError, pooler, query_on};

/// The longest time that migrating may take in all: waiting for other instances that migrate, and
/// filling the versions of templates that are registered already.
const LIMIT: Duration = Duration::from_mins(5);

/// The longest time that connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(migrator);

/// The same for a database without the schema. `CREATE SCHEMA IF NOT EXISTS` asks for the right to
/// create one although there is one.
static FIRST_MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = migrator();
    migrator.create_schema("tasker");
    migrator
});

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    // A table of our own: the database may have been made by other software, which keeps its
    // migrations in the usual place.
    migrator.dangerous_set_table_name("tasker._tasker_shared_migrations");
    // After a release was rolled back, the table has migrations that this one does not know.
    migrator.set_ignore_missing(true);
    migrator
}

/// Applies the migrations that are missing. Instances that start together take turns; all but
/// the first find nothing to do.
///
/// If nothing is missing, it only reads, so that a role without the right to change the schema can
/// start. Migrations of later releases are ignored with a warning.
///
/// Uses a connection beside the pool, to `direct_url` if there is one, because the advisory lock does not
/// work through a pooler in transaction mode.
///
/// # Errors
/// [`DatabaseError::Late`] if connecting takes longer than five seconds, and after five minutes in all;
/// [`DatabaseError::Migration`] if a migration fails, or if an applied one is not the one that this
/// release has. Each is applied whole or not at all.
/// [`DatabaseError::SharedSession`] or [`DatabaseError::SharedDirectSession`] if connections that should have
/// sessions of their own share one. [`DatabaseError::NoSession`] if a migration is missing behind a pooler in transaction mode.
pub async fn migrate(pool: &PgPool) -> Result<(), DatabaseError> {
    migrate_within(pool, CONNECT_LIMIT).await
}

/// Does the same; connecting takes `connecting` at most.
pub(crate) async fn migrate_within(
    pool: &PgPool,
    connecting: Duration,
) -> Result<(), DatabaseError> {
    let migrated = timeout(LIMIT, async {
        let direct = pooler::direct(pool);
        let has_session = direct.is_some();
        let options = direct.unwrap_or_else(|| (*pool.connect_options()).clone());
        let mut connection = timeout(connecting, PgConnection::connect_with(&options))
            .await
            .map_err(|_elapsed| DatabaseError::Late(connecting))??;
        // First, because the session of another client would keep the settings and the advisory lock.
        pooler::check_sessions(pool).await?;
        let outcome = if has_session {
            set_limits(&mut connection).await?;
            migrate_over(&mut connection).await
        } else {
            check_over(pool, &mut connection).await
        };
        // Migrated is migrated, whether the server hears our good-bye or not.
        connection.close().await.ok();
        outcome
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
    let mut connection = pool.acquire().await?;
    missing(&applied_over(pool, &mut connection).await?)
}

async fn applied_over(
    pool: &PgPool,
    connection: &mut PgConnection,
) -> Result<Applied, DatabaseError> {
    let applied = query_on(pool, connection, |connection| Box::pin(applied(connection)));
    Ok(applied.await?)
}

/// Fails if a migration is missing.
async fn check_over(pool: &PgPool, connection: &mut PgConnection) -> Result<(), DatabaseError> {
    let applied = applied_over(pool, connection).await?;
    let missing = missing(&applied)?;
    if !missing.is_empty() {
        let missing = list(missing.iter().map(|migration| migration.version));
        return Err(DatabaseError::NoSession { missing });
    }
    warn_of_later(applied);
    Ok(())
}

/// Replaces the limits that a role or a database has for its queries by [`LIMIT`], because waiting for
/// another instance or filling a table takes longer. PostgreSQL ends a migration whose client is gone:
/// one that waited on for a lock would keep all others from the table.
async fn set_limits(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // PostgreSQL 17 has the last one.
    let limits = "SELECT set_config(name, $1, false) FROM pg_settings
        WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_session_timeout',
                       'idle_in_transaction_session_timeout', 'transaction_timeout')";
    sqlx::query(limits)
        .bind(LIMIT.as_millis().to_string())
        .execute(&mut *connection)
        .await?;
    let check = sqlx::query("SELECT set_config('client_connection_check_interval', $1, false)")
        .bind(CLIENT_CHECK_INTERVAL.as_millis().to_string())
        .execute(connection)
        .await;
    match check {
        // Some platforms cannot check clients, and accept nothing but 0.
        Err(sqlx::Error::Database(_)) => Ok(()),
        answer => answer.map(drop),
    }
}

async fn migrate_over(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    let applied = applied(connection).await?;
    let missing = missing(&applied)?;
    if !missing.is_empty() {
        let migrator = if has_schema(connection).await? {
            &MIGRATOR
        } else {
            &FIRST_MIGRATOR
        };
        migrator
            .run_direct(None, connection, false)
            .await
            .map_err(|source| refusal(&missing, source))?;
    }
    warn_of_later(applied);
    Ok(())
}

fn warn_of_later(applied: Applied) {
    let later = applied
        .into_keys()
        .filter(|version| !MIGRATOR.version_exists(*version));
    let later = list(later);
    if !later.is_empty() {
        tracing::warn!(
            versions = later,
            "the schema has migrations of a later release, which are ignored"
        );
    }
}

async fn has_schema(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'tasker')")
        .fetch_one(connection)
        .await
}

/// The checksum of each applied migration by version, and false if it failed half-way.
type Applied = BTreeMap<i64, (Vec<u8>, bool)>;

async fn applied(connection: &mut PgConnection) -> Result<Applied, sqlx::Error> {
    let exists: bool = sqlx::query_scalar(
        "SELECT EXISTS (
             SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'tasker' AND c.relname = '_tasker_shared_migrations')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !exists {
        return Ok(Applied::new());
    }
    let rows: Vec<(i64, Vec<u8>, bool)> =
        sqlx::query_as("SELECT version, checksum, success FROM tasker._tasker_shared_migrations")
            .fetch_all(connection)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(version, checksum, success)| (version, (checksum, success)))
        .collect())
}

/// Returns the migrations of this release that are not applied.
fn missing(applied: &Applied) -> Result<Vec<PendingMigration>, DatabaseError> {
    let mut missing = Vec::new();
    for migration in MIGRATOR.iter() {
        match applied.get(&migration.version) {
            None => missing.push(PendingMigration {
                version: migration.version,
                description: migration.description.to_string(),
            }),
            Some((_, false)) => return Err(refusal(&[], MigrateError::Dirty(migration.version))),
            Some((checksum, true)) if checksum[..] != migration.checksum[..] => {
                return Err(refusal(
                    &[],
                    MigrateError::VersionMismatch(migration.version),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(missing)
}

fn refusal(missing: &[PendingMigration], error: MigrateError) -> DatabaseError {
    match error {
        // Its own text names the library's table, which in this database may be other software's.
        MigrateError::Dirty(version) => DatabaseError::HalfApplied { version },
        source => DatabaseError::Migration {
            missing: list(missing.iter().map(|migration| migration.version)),
            source,
        },
    }
}

fn list(versions: impl Iterator<Item = i64>) -> String {
    let versions: Vec<String> = versions.map(|version| format!("{version:04}")).collect();
    versions.join(" ")
}

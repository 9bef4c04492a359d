//! The ways through a pooler such as pgbouncer, and around it.
//!
//! A pooler in transaction mode gives each transaction to any of its sessions. The client library sends a
//! statement in two parts, which outside of a transaction reach different sessions. So each query is a
//! transaction ([`begin`]). Migrations and `LISTEN` need a session of their own ([`direct`]).
//!
//! Pools are a type of the client library and carry nothing of ours, so the routes are kept here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row};
use tokio::time::timeout;

use super::{DatabaseError, connect_options};
use crate::config::tasker::{DatabaseConfig, PoolMode};

/// The routes of the pools of this process that need one.
static ROUTES: RwLock<Vec<Route>> = RwLock::new(Vec::new());
/// Set if there are any, because most processes have none.
static HAS_ROUTES: AtomicBool = AtomicBool::new(false);
/// Set when the lack of notifications was logged.
static WARNED: AtomicBool = AtomicBool::new(false);

/// The longest that finding out the mode of the pooler may take.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

struct Route {
    target: Target,
    /// Begins a transaction, in transaction mode.
    begin: Option<Arc<str>>,
    direct: Option<PgConnectOptions>,
}

/// The part of a URL that names a pool of the pooler. The host is not a part, because it may be replaced
/// by one of its addresses. One process can therefore not use two servers that differ in nothing else.
#[derive(PartialEq)]
struct Target {
    port: u16,
    username: String,
    database: Option<String>,
}

impl Target {
    fn of(options: &PgConnectOptions) -> Self {
        Self {
            port: options.get_port(),
            username: options.get_username().to_owned(),
            database: options.get_database().map(ToOwned::to_owned),
        }
    }
}

/// Keeps the route that `config` describes. Returns the options of its pool, and whether each of the pool's
/// connections has a session. If not, `begin` begins each transaction.
pub(super) fn route(
    config: &DatabaseConfig,
    begin: &str,
) -> Result<(PgConnectOptions, bool), DatabaseError> {
    let mut options = connect_options::read(&config.url)?.application_name("tasker");
    let direct = match &*config.direct_url {
        "" => None,
        url => Some(connect_options::read(url)?.application_name("tasker")),
    };
    let has_sessions = PoolMode::from_name(&config.pool_mode) != Some(PoolMode::Transaction);
    if !has_sessions {
        options = options.statement_cache_capacity(0);
    }
    let target = Target::of(&options);
    let mut routes = ROUTES.write().unwrap_or_else(PoisonError::into_inner);
    routes.retain(|route| route.target != target);
    if !has_sessions || direct.is_some() {
        HAS_ROUTES.store(true, Ordering::Release);
        let begin = (!has_sessions).then(|| begin.into());
        routes.push(Route {
            target,
            begin,
            direct,
        });
    }
    Ok((options, has_sessions))
}

fn find<T>(pool: &PgPool, part: impl FnOnce(&Route) -> T) -> Option<T> {
    if !HAS_ROUTES.load(Ordering::Acquire) {
        return None;
    }
    let target = Target::of(&pool.connect_options());
    let routes = ROUTES.read().unwrap_or_else(PoisonError::into_inner);
    routes.iter().find(|route| route.target == target).map(part)
}

/// Returns the statement that begins a transaction, if each query on `pool` must be in one.
#[must_use]
pub fn begin(pool: &PgPool) -> Option<AssertSqlSafe<Arc<str>>> {
    find(pool, |route| route.begin.clone())?.map(AssertSqlSafe)
}

/// Fails if a session that `pool` needs is shared: two connections are then given the same one, and their
/// statements and settings would be confused with each other. A pooler that is busy may not show it.
pub(super) async fn check_sessions(pool: &PgPool) -> Result<(), DatabaseError> {
    if begin(pool).is_none() && is_shared(&pool.connect_options()).await {
        return Err(DatabaseError::SharedSession);
    }
    match find(pool, |route| route.direct.clone()).flatten() {
        Some(direct) if is_shared(&direct).await => Err(DatabaseError::SharedDirectSession),
        _ => Ok(()),
    }
}

async fn is_shared(options: &PgConnectOptions) -> bool {
    let sessions = async {
        let mut first = PgConnection::connect_with(options).await?;
        let mut second = PgConnection::connect_with(options).await?;
        let sessions = (
            session_of(&mut first).await?,
            session_of(&mut second).await?,
        );
        first.close().await?;
        second.close().await?;
        Ok::<_, sqlx::Error>(sessions)
    };
    // Other faults have messages of their own when the connections are used.
    matches!(timeout(CHECK_LIMIT, sessions).await, Ok(Ok((first, second))) if first == second)
}

async fn session_of(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    // Without a prepared statement, whose name may be taken.
    let row = connection
        .fetch_one("SELECT pg_backend_pid()::text")
        .await?;
    row.try_get(0)
}

/// Returns the options of connections that have a session, or `None` if there is no way to one.
pub(super) fn direct(pool: &PgPool) -> Option<PgConnectOptions> {
    let routed = find(pool, |route| (route.direct.clone(), route.begin.is_some()));
    match routed {
        Some((None, true)) => None,
        Some((Some(direct), _)) => Some(direct),
        Some((None, false)) | None => Some((*pool.connect_options()).clone()),
    }
}

/// Returns a pool of one connection to listen on, which is opened within `limit`. If notifications cannot
/// arrive, logs a warning once in the life of the process, and returns `None`.
#[must_use]
pub fn for_listener(pool: &PgPool, limit: Duration) -> Option<PgPool> {
    let Some(direct) = direct(pool) else {
        if !WARNED.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "notifications do not pass a pooler in transaction mode, and common.database.direct_url is not set; polling for changes instead"
            );
        }
        return None;
    };
    let options = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(limit);
    Some(options.connect_lazy_with(direct))
}

/// Listens on `channel` on the connection of a pool that is [`for_listener`].
///
/// # Errors
/// If that does not succeed within `limit`.
pub async fn listen(
    pool: &PgPool,
    channel: &str,
    limit: Duration,
) -> Result<PgListener, DatabaseError> {
    let connect = async {
        let mut listener = PgListener::connect_with(pool).await?;
        // Eager reconnection would hide that notifications were missed.
        listener.eager_reconnect(false);
        listener.listen(channel).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    let connected = timeout(limit, connect).await;
    Ok(connected.map_err(|_elapsed| DatabaseError::Late(limit))??)
}

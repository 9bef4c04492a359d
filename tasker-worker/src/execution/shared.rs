//! The parts that all sessions of a worker share.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::config::tasker::ExecutionConfig;
use tasker_shared::execution::Scope;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::documents::Documents;
use super::handlers::Handlers;
use super::http::HttpHandlers;
use super::wake::Wake;

/// The parts that all sessions of a worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) pool: PgPool,
    /// The limit of PostgreSQL for each statement of the pool.
    pub(super) statement_timeout: Duration,
    pub(super) name: String,
    pub(super) host: String,
    pub(super) config: ExecutionConfig,
    pub(super) handlers: Handlers,
    pub(super) http: Option<HttpHandlers>,
    pub(super) scope: Scope,
    pub(super) documents: Documents,
    pub(super) wake: Arc<Wake>,
    pub(super) draining: CancellationToken,
    /// The id of the session that has a lease.
    pub(super) registration: watch::Sender<Option<Uuid>>,
}

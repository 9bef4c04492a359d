//! Liveness, readiness and a health report.
//!
//! PostgreSQL is the one hard dependency, so the process is not ready without it. Without Redis the
//! process is degraded, but still ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::joined::{Joined, Joining};
use crate::parts::{AppParts, ServiceInfo, TemplateFiles};
use crate::problem::{ApiResult, Problem, causes};
use crate::problem_from::unavailability;
use crate::problem_kinds as kinds;
use tasker_shared::SystemContext;
use tasker_shared::cache::CacheStatus;
use tasker_shared::database::{self, DatabaseCause, DatabaseError, LockWait};
use tasker_shared::registry::IndexStatus;
use tasker_shared::types::CacheInvalidation;

/// Limits the wait for PostgreSQL in a health check. Shorter than the timeout of most supervisors.
const DATABASE_DEADLINE: Duration = Duration::from_secs(1);

/// The health of a part or of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HealthStatus {
    /// Everything works.
    Healthy,
    /// Requests are answered, but more slowly, or an operator should act.
    Degraded,
    /// Requests fail.
    Unhealthy,
}

impl HealthStatus {
    fn degraded_unless(is_well: bool) -> Self {
        if is_well {
            Self::Healthy
        } else {
            Self::Degraded
        }
    }
}

/// Basic health of the process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// The health.
    pub status: HealthStatus,
    /// The service that answers.
    pub service: &'static str,
    /// The release of the service.
    pub version: &'static str,
    /// The time of the answer.
    pub timestamp: DateTime<Utc>,
}

impl Health {
    /// Returns `status` of this service at this moment.
    pub(crate) fn new(info: &ServiceInfo, status: HealthStatus) -> Self {
        Self {
            status,
            service: info.name,
            version: info.version,
            timestamp: Utc::now(),
        }
    }
}

/// The health of each part of the process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DetailedHealth {
    /// The worst of the checks, without the one of template files.
    pub status: HealthStatus,
    /// The service that answers.
    pub service: &'static str,
    /// The release of the service.
    pub version: &'static str,
    /// The time of the answer.
    pub timestamp: DateTime<Utc>,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// True after the first SIGTERM or SIGINT.
    pub draining: bool,
    /// One check per part.
    pub checks: Checks,
}

/// One check per part.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checks {
    /// PostgreSQL.
    pub database: DatabaseCheck,
    /// The distributed cache.
    pub cache: CacheCheck,
    /// The template index. Absent without a cache, because every resolve then reads PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectoryCheck>,
    /// The lease under which this process runs steps. Absent if it runs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionCheck>,
    /// The triggers of the templates' tables, as they were within the last minute.
    pub triggers: TriggersCheck,
    /// The template files of this worker. Absent on other services. Refused files do not change the
    /// status of the process, because requests for the other templates are answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub templates: Option<TemplatesCheck>,
}

/// The lease of a worker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExecutionCheck {
    /// Degraded without a lease: no step is run until PostgreSQL answers.
    pub status: HealthStatus,
    /// The id under which it is listed in `/v1/workers`. Absent without a lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_uuid: Option<Uuid>,
}

impl From<Option<Uuid>> for ExecutionCheck {
    fn from(worker_uuid: Option<Uuid>) -> Self {
        Self {
            status: HealthStatus::degraded_unless(worker_uuid.is_some()),
            worker_uuid,
        }
    }
}

/// The health of the triggers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TriggersCheck {
    /// Degraded if changes of templates may be missed.
    pub status: HealthStatus,
    /// The triggers that do not fire as they have to.
    pub wrong: Vec<String>,
}

impl From<Vec<String>> for TriggersCheck {
    fn from(wrong: Vec<String>) -> Self {
        Self {
            status: HealthStatus::degraded_unless(wrong.is_empty()),
            wrong,
        }
    }
}

/// The template files that a worker found at its start.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplatesCheck {
    /// Degraded if a file was refused or not registered, or if cached templates were not deleted and
    /// the cache is not well since.
    pub status: HealthStatus,
    /// The files.
    #[serde(flatten)]
    pub files: TemplateFiles,
}

impl TemplatesCheck {
    fn new(files: &TemplateFiles, swept: Option<CacheInvalidation>, cache: HealthStatus) -> Self {
        let mut files = files.clone();
        if files.invalidation_error.is_none() {
            files.invalidation_error = swept.and_then(|swept| swept.error);
        }
        // Nobody can mend the old failure. Hashes keep what was not deleted from use.
        let is_invalidated = files.invalidation_error.is_none() || cache == HealthStatus::Healthy;
        Self {
            status: HealthStatus::degraded_unless(
                files.refused == 0 && files.registration_error.is_none() && is_invalidated,
            ),
            files,
        }
    }
}

/// The health of PostgreSQL.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DatabaseCheck {
    /// Healthy if PostgreSQL answered within a second, is no standby, and has the tables.
    pub status: HealthStatus,
    /// Duration of the check, in milliseconds.
    pub duration_ms: u64,
    /// The fault, if PostgreSQL cannot be used or all connections are in use, such as
    /// `connection_refused`, `login_refused`, `unknown_database`, `not_migrated` or `pool_exhausted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    #[serde(skip)]
    kind: Option<DatabaseCause>,
    /// The error, and the remedy if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Sessions of this role that wait for locks, such as `pid 71 has waited 3 s, locked by pid 68`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub lock_waits: Vec<String>,
    /// The most connections that the pool opens.
    pub max_connections: u32,
    /// Connections in the pool.
    pub connections: u32,
    /// Idle connections in the pool.
    pub idle_connections: usize,
}

/// The health of the distributed cache.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheCheck {
    /// Degraded if a cache is configured and cannot be used, or refuses commands.
    pub status: HealthStatus,
    /// The status that the cache reports.
    #[serde(flatten)]
    pub cache: CacheStatus,
}

/// The age of the template index.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DirectoryCheck {
    /// Degraded if the index is older than its bound. Resolves then wait for a poll.
    pub status: HealthStatus,
    /// Registered templates in the index.
    pub templates: usize,
    /// Milliseconds since the last successful poll was sent. Absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// The bound, `max_staleness_ms`. With 0 every resolve waits for a poll of its own.
    pub max_age_ms: u64,
    /// True if resolves use the index without waiting. With a bound of 0, true once the index has
    /// been loaded.
    pub within_bound: bool,
}

impl From<IndexStatus> for DirectoryCheck {
    fn from(directory: IndexStatus) -> Self {
        Self {
            status: HealthStatus::degraded_unless(directory.within_bound),
            templates: directory.templates,
            age_ms: directory.age.map(millis),
            max_age_ms: millis(directory.max_age),
            within_bound: directory.within_bound,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the health routes.
pub(crate) fn routes(parts: &Arc<AppParts>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/detailed", get(detailed))
        .layer(Extension(Arc::<Joined<DatabaseCheck>>::default()))
        .with_state(Arc::clone(parts))
}

/// Basic health
#[utoipa::path(
    get,
    path = "/health",
    tag = "operations",
    responses((status = 200, description = "The process answers", body = Health))
)]
pub(crate) async fn health(State(parts): State<Arc<AppParts>>) -> Json<Health> {
    Json(parts.health(HealthStatus::Healthy))
}

/// Liveness probe
///
/// Checks nothing outside the process, so a supervisor does not restart it when PostgreSQL is lost.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "operations",
    responses((status = 200, description = "Alive", body = Health))
)]
pub(crate) async fn live(State(parts): State<Arc<AppParts>>) -> Json<Health> {
    Json(parts.health(HealthStatus::Healthy))
}

/// Readiness probe
///
/// `degraded` is still ready: the cache cannot be used, and PostgreSQL serves its requests.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "operations",
    responses(
        (status = 200, description = "Ready (`healthy` or `degraded`)", body = Health),
        (status = 503, description = "`starting`, `draining`, `database_unavailable`, `database_read_only` or `database_not_migrated`", body = crate::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn ready(
    State(parts): State<Arc<AppParts>>,
    Extension(checks): Extension<Arc<Joined<DatabaseCheck>>>,
) -> ApiResult<Json<Health>> {
    if parts.lifecycle.is_draining() {
        return Err(Problem::new(
            &kinds::DRAINING,
            "The service is stopping. Use another instance.",
        ));
    }
    let database = parts.check_database(&checks).await;
    if database.status == HealthStatus::Unhealthy {
        let (kind, detail) = match database.kind.unwrap_or(DatabaseCause::Late) {
            DatabaseCause::Other => (
                &kinds::DATABASE_UNAVAILABLE,
                "PostgreSQL refuses the check; `error` in /health/detailed says why.",
            ),
            cause => unavailability(cause),
        };
        return Err(Problem::new(kind, detail));
    }
    Ok(Json(parts.health(parts.check_cache().await.status)))
}

/// Health report
///
/// Always returns 200, because this is a report and not a probe.
#[utoipa::path(
    get,
    path = "/health/detailed",
    tag = "operations",
    responses((status = 200, description = "The report", body = DetailedHealth))
)]
pub(crate) async fn detailed(
    State(parts): State<Arc<AppParts>>,
    Extension(database): Extension<Arc<Joined<DatabaseCheck>>>,
) -> Json<DetailedHealth> {
    let registry = &parts.context.task_handler_registry;
    // Before the cache is checked, so that a refusal is not taken for one that is over.
    let swept = registry.swept();
    let (mut database, cache, directory) = tokio::join!(
        parts.check_database(&database),
        parts.check_cache(),
        registry.index_status(),
    );
    if database.status == HealthStatus::Healthy {
        database.lock_waits = parts.lock_waits().await;
    }
    let templates = parts.template_files();
    let templates = templates.map(|files| TemplatesCheck::new(files, swept, cache.status));
    let checks = Checks {
        database,
        cache,
        directory: directory.map(DirectoryCheck::from),
        execution: parts
            .registration()
            .map(|current| ExecutionCheck::from(*current.borrow())),
        triggers: TriggersCheck::from(parts.triggers.wrong()),
        templates,
    };
    let directory = checks.directory.as_ref().map(|check| check.status);
    let execution = checks.execution.as_ref().map(|check| check.status);
    let draining = parts.lifecycle.is_draining();
    let own = if draining {
        HealthStatus::Unhealthy
    } else {
        HealthStatus::Healthy
    };
    Json(DetailedHealth {
        status: own
            .max(checks.database.status)
            .max(checks.cache.status)
            .max(checks.triggers.status)
            .max(directory.unwrap_or(HealthStatus::Healthy))
            .max(execution.unwrap_or(HealthStatus::Healthy)),
        service: parts.info.name,
        version: parts.info.version,
        timestamp: Utc::now(),
        uptime_seconds: parts.started.elapsed().as_secs(),
        draining,
        checks,
    })
}

async fn check_database(context: &SystemContext) -> DatabaseCheck {
    let pool = context.database_pool();
    let started = Instant::now();
    let probes = context.probe_pool();
    let first = database::run_on(probes, DATABASE_DEADLINE, |connection| {
        Box::pin(database::check_usable(connection))
    });
    let left = DATABASE_DEADLINE.saturating_sub(database::SECOND_ASKED_AFTER);
    let second = database::run_anew(probes, left, |connection| {
        Box::pin(database::check_usable(connection))
    });
    let (first, second) = (Box::pin(first), Box::pin(second));
    let outcome = database::first_good(first, second, Result::is_ok).await;
    let has_answered = outcome.is_ok();
    let duration_ms = millis(started.elapsed());
    let error = match outcome {
        Ok(()) if database::is_exhausted(pool) => {
            Some(DatabaseError::from(sqlx::Error::PoolTimedOut))
        }
        Ok(()) => None,
        Err(error) => Some(error),
    };
    let cause = error.as_ref().map(DatabaseError::kind);
    DatabaseCheck {
        status: match cause {
            _ if !has_answered => HealthStatus::Unhealthy,
            None => HealthStatus::Healthy,
            Some(_) => HealthStatus::Degraded,
        },
        cause: cause.map(DatabaseCause::code),
        kind: cause,
        error: error.as_ref().map(|error| causes(error)),
        lock_waits: Vec::new(),
        max_connections: pool.options().get_max_connections(),
        duration_ms,
        connections: pool.size(),
        idle_connections: pool.num_idle(),
    }
}

impl AppParts {
    fn health(&self, status: HealthStatus) -> Health {
        Health::new(self.info, status)
    }

    /// Checks PostgreSQL, or joins the check under way, because each may open a connection.
    fn check_database(&self, checks: &Joined<DatabaseCheck>) -> Joining<DatabaseCheck> {
        checks.join(|| {
            let context = Arc::clone(&self.context);
            Box::pin(async move { check_database(&context).await })
        })
    }

    /// Returns the sessions that wait for locks; none if that is not answered in time.
    async fn lock_waits(&self) -> Vec<String> {
        let pool = self.context.probe_pool();
        let waits = database::run_idempotent(pool, DATABASE_DEADLINE, |connection| {
            Box::pin(database::lock_waits(connection))
        });
        let shown = |wait: &LockWait| {
            let holders: Vec<String> = wait.locked_by.iter().map(i32::to_string).collect();
            format!(
                "pid {} has waited {:.0} s, locked by pid {}",
                wait.pid,
                wait.seconds,
                holders.join(" ")
            )
        };
        waits.await.unwrap_or_default().iter().map(shown).collect()
    }

    async fn check_cache(&self) -> CacheCheck {
        let cache = self.context.cache_provider().status().await;
        let is_well = cache.healthy && cache.refused_commands.is_empty();
        let status = HealthStatus::degraded_unless(is_well);
        CacheCheck { status, cache }
    }
}

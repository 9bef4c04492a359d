//! Health: is the process alive, is it ready, and what is each part of it like.
//!
//! PostgreSQL is the one hard dependency: without it the process is not ready. Without Redis it is
//! degraded, which is still ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{AppParts, ServiceInfo};
use crate::problem::{ApiResult, Problem};
use crate::problem_kinds as kinds;
use tasker_shared::cache::CacheStatus;
use tasker_shared::database;
use tasker_shared::registry::IndexStatus;

/// How long PostgreSQL may take to answer a health check. Shorter than what supervisors wait.
const DATABASE_DEADLINE: Duration = Duration::from_secs(1);

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HealthStatus {
    /// All is as it should be.
    Healthy,
    /// Requests are answered, more slowly or with less comfort.
    Degraded,
    /// Requests cannot be relied on.
    Unhealthy,
}

/// That the process is alive, or ready.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// How it is.
    pub status: HealthStatus,
    /// Which service answers.
    pub service: &'static str,
    /// Its release.
    pub version: &'static str,
    /// When it answered.
    pub timestamp: DateTime<Utc>,
}

impl Health {
    /// `status` of this service, now.
    pub(crate) fn new(info: &ServiceInfo, status: HealthStatus) -> Self {
        Self {
            status,
            service: info.name,
            version: info.version,
            timestamp: Utc::now(),
        }
    }
}

/// What each part of the process is like.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DetailedHealth {
    /// The worst of the checks.
    pub status: HealthStatus,
    /// Which service answers.
    pub service: &'static str,
    /// Its release.
    pub version: &'static str,
    /// When it answered.
    pub timestamp: DateTime<Utc>,
    /// How long the process has run, in seconds.
    pub uptime_seconds: u64,
    /// Whether it was told to stop.
    pub draining: bool,
    /// One check a part.
    pub checks: Checks,
}

/// The checks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checks {
    /// PostgreSQL.
    pub database: DatabaseCheck,
    /// The distributed cache.
    pub cache: CacheCheck,
    /// The directory of templates; absent without a cache, when every resolve asks PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectoryCheck>,
}

/// How PostgreSQL is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DatabaseCheck {
    /// Healthy when it answered in time.
    pub status: HealthStatus,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Connections that the pool holds.
    pub connections: u32,
    /// Those of them that are free.
    pub idle_connections: usize,
}

/// How the distributed cache is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheCheck {
    /// Degraded when it is configured and cannot be used.
    pub status: HealthStatus,
    /// What the cache tells of itself.
    #[serde(flatten)]
    pub cache: CacheStatus,
}

/// How current the directory of templates is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DirectoryCheck {
    /// Degraded when it is not within its bound: resolves then wait for a poll.
    pub status: HealthStatus,
    /// Registered templates that it knows.
    pub templates: usize,
    /// Time since the last successful poll was sent, in milliseconds; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// The bound, `max_staleness_ms`. With 0 every resolve waits for a poll of its own.
    pub max_age_ms: u64,
    /// Whether templates are answered from it without waiting, or with a bound of 0, whether it
    /// has been read.
    pub within_bound: bool,
}

impl From<IndexStatus> for DirectoryCheck {
    fn from(directory: IndexStatus) -> Self {
        Self {
            status: if directory.within_bound {
                HealthStatus::Healthy
            } else {
                HealthStatus::Degraded
            },
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

/// The routes.
pub(crate) fn routes(parts: &Arc<AppParts>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/detailed", get(detailed))
        .with_state(Arc::clone(parts))
}

/// Whether the process answers
#[utoipa::path(
    get,
    path = "/health",
    tag = "operations",
    responses((status = 200, description = "It does", body = Health))
)]
pub(crate) async fn health(State(parts): State<Arc<AppParts>>) -> Json<Health> {
    Json(parts.health(HealthStatus::Healthy))
}

/// Whether the process is alive
///
/// Touches nothing but the process, so that a lost database never has it killed.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "operations",
    responses((status = 200, description = "It is", body = Health))
)]
pub(crate) async fn live(State(parts): State<Arc<AppParts>>) -> Json<Health> {
    Json(parts.health(HealthStatus::Healthy))
}

/// Whether requests should be sent here
///
/// `degraded` means yes: the cache is lost, PostgreSQL answers in its place.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "operations",
    responses(
        (status = 200, description = "They should", body = Health),
        (status = 503, description = "`starting`, `draining`, or `database_unavailable`", body = crate::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn ready(State(parts): State<Arc<AppParts>>) -> ApiResult<Json<Health>> {
    if parts.lifecycle.is_draining() {
        return Err(Problem::new(
            &kinds::DRAINING,
            "The service was told to stop. Ask another instance.",
        ));
    }
    if parts.check_database().await.status == HealthStatus::Unhealthy {
        return Err(Problem::new(
            &kinds::DATABASE_UNAVAILABLE,
            "PostgreSQL did not answer within a second. Ask another instance, or try again.",
        ));
    }
    Ok(Json(parts.health(parts.check_cache().await.status)))
}

/// What each part of the process is like
///
/// Always 200: it is a report, not a gate.
#[utoipa::path(
    get,
    path = "/health/detailed",
    tag = "operations",
    responses((status = 200, description = "The report", body = DetailedHealth))
)]
pub(crate) async fn detailed(State(parts): State<Arc<AppParts>>) -> Json<DetailedHealth> {
    let registry = &parts.context.task_handler_registry;
    let checks = Checks {
        database: parts.check_database().await,
        cache: parts.check_cache().await,
        directory: registry.index_status().map(DirectoryCheck::from),
    };
    let directory = checks.directory.as_ref().map(|check| check.status);
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
            .max(directory.unwrap_or(HealthStatus::Healthy)),
        service: parts.info.name,
        version: parts.info.version,
        timestamp: Utc::now(),
        uptime_seconds: parts.started.elapsed().as_secs(),
        draining,
        checks,
    })
}

impl AppParts {
    fn health(&self, status: HealthStatus) -> Health {
        Health::new(self.info, status)
    }

    async fn check_database(&self) -> DatabaseCheck {
        let pool = self.context.database_pool();
        let started = Instant::now();
        let ping = database::read(pool, DATABASE_DEADLINE, |connection| {
            Box::pin(async move { sqlx::query("SELECT 1").execute(connection).await })
        });
        let answered = ping.await.is_ok();
        DatabaseCheck {
            status: if answered {
                HealthStatus::Healthy
            } else {
                HealthStatus::Unhealthy
            },
            duration_ms: millis(started.elapsed()),
            connections: pool.size(),
            idle_connections: pool.num_idle(),
        }
    }

    async fn check_cache(&self) -> CacheCheck {
        let cache = self.context.cache_provider().status().await;
        let status = if cache.healthy {
            HealthStatus::Healthy
        } else {
            HealthStatus::Degraded
        };
        CacheCheck { status, cache }
    }
}

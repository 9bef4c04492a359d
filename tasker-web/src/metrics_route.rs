//! `GET /metrics`: metrics of the process in Prometheus' text format.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::lifecycle::Lifecycle;
use crate::logging;
use crate::parts::AppParts;
use sqlx::PgPool;
use tasker_shared::metrics::{
    DATABASE_CONNECTIONS, DATABASE_CONNECTIONS_MAX, LOG_LINES_DROPPED, STEP_DURATION, describe_all,
};

/// Bucket limits in seconds, from a look-up in memory to the default request timeout.
const DURATION_BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
];

/// Bucket limits for handlers in seconds, from a query to an hour.
const HANDLER_BUCKETS: [f64; 16] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0,
    3600.0,
];

/// Interval at which recorded values are moved to their buckets, so that memory stays level without
/// scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Returns the recorder of the process. The first call installs it.
///
/// # Panics
/// If another recorder was installed before, because a process can have only one.
pub fn recorder() -> &'static PrometheusHandle {
    RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Suffix(String::from("_duration_seconds")),
                &DURATION_BUCKETS,
            )
            .and_then(|builder| {
                let metric = Matcher::Full(STEP_DURATION.name.to_owned());
                builder.set_buckets_for_metric(metric, &HANDLER_BUCKETS)
            })
            .expect("there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).expect("no other recorder is installed");
        describe_all();
        handle
    })
}

/// Installs the recorder and runs its upkeep until the process stops.
pub(crate) fn start(lifecycle: &Lifecycle) {
    let handle = recorder();
    lifecycle.spawn(async move {
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            interval.tick().await;
            handle.run_upkeep();
        }
    });
}

/// Returns the route.
pub(crate) fn routes(parts: &Arc<AppParts>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(parts))
}

/// Sets the gauges of the pool, whose values nobody else records.
fn record_pool(pool: &PgPool) {
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    let used = pool.size().saturating_sub(idle);
    metrics::gauge!(DATABASE_CONNECTIONS.name, "state" => "idle").set(f64::from(idle));
    metrics::gauge!(DATABASE_CONNECTIONS.name, "state" => "used").set(f64::from(used));
    let most = pool.options().get_max_connections();
    metrics::gauge!(DATABASE_CONNECTIONS_MAX.name).set(f64::from(most));
}

/// Get the metrics of this process
///
/// In Prometheus' text format. The `# HELP` line of each metric explains it.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "The metrics", content_type = "text/plain", body = String))
)]
pub(crate) async fn metrics(State(parts): State<Arc<AppParts>>) -> impl IntoResponse {
    record_pool(parts.context.database_pool());
    metrics::counter!(LOG_LINES_DROPPED.name).absolute(logging::dropped_lines());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        recorder().render(),
    )
}

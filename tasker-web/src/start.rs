//! Answers requests before the service has started: alive, but not ready.

use std::sync::{Arc, OnceLock};

use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Json, Router};
use http::{HeaderValue, header};

use crate::health::{Health, HealthStatus};
use crate::layers;
use crate::parts::ServiceInfo;
use crate::problem::Problem;
use crate::problem_kinds as kinds;
use tasker_shared::config::tasker::WebConfig;

/// Gives each new connection the service's routes once they exist, and until then routes that close
/// the connection after one answer. Clones share the routes.
#[derive(Debug, Clone)]
pub(crate) struct Entrance {
    starting: Router,
    started: Arc<OnceLock<Router>>,
}

impl Entrance {
    /// Creates the entrance of a service that has not started.
    pub(crate) fn new(info: &'static ServiceInfo, web: &WebConfig) -> Self {
        Self {
            starting: layers::serve_layers(starting(info), web),
            started: Arc::default(),
        }
    }

    /// Gives `router` to connections from now on. Only the first call has an effect.
    pub(crate) fn open(&self, router: Router) {
        self.started.get_or_init(|| router);
    }

    /// Returns the routes for a new connection.
    pub(crate) fn router(&self) -> Router {
        self.started.get().unwrap_or(&self.starting).clone()
    }
}

fn starting(info: &'static ServiceInfo) -> Router {
    let alive = async || Json(Health::new(info, HealthStatus::Healthy));
    Router::new()
        .route("/health", get(alive))
        .route("/health/live", get(alive))
        .route("/{*anything}", any(not_yet))
        .route("/", any(not_yet))
        .layer(map_response(async |mut response: Response| {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }))
}

async fn not_yet() -> Problem {
    Problem::new(
        &kinds::STARTING,
        "The service has not started yet. Use another instance, or try again.",
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;

    use super::starting;
    use crate::parts::tests::INFO;

    #[tokio::test]
    async fn a_starting_service_is_alive_and_nothing_else() {
        for (path, status) in [
            ("/health", 200),
            ("/health/live", 200),
            ("/health/ready", 503),
            ("/metrics", 503),
            ("/", 503),
            ("/templates/a/b/c", 503),
        ] {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            let answer = starting(&INFO).oneshot(request).await.expect("an answer");
            assert_eq!(answer.status(), status, "{path}");
            assert_eq!(answer.headers()["connection"], "close", "{path}");
        }
    }
}

//! The HTTP interface of the orchestration service.

use std::sync::Arc;

use axum::Router;
use http::Method;
use serde_json::{Value, json};
use tasker_orchestration::service;
use tasker_web::{AppParts, Lifecycle};
use uuid::Uuid;

use super::engine::Engine;
use crate::support::send;

/// An orchestration service in this process.
pub(super) struct Api {
    router: Router,
    pub(super) lifecycle: Lifecycle,
}

impl Api {
    pub(super) fn of(engine: &Engine) -> Self {
        let lifecycle = Lifecycle::new();
        let parts = AppParts::new(
            &service::INFO,
            Arc::clone(&engine.context),
            lifecycle.clone(),
        );
        Self {
            router: service::router(&parts),
            lifecycle,
        }
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        send(&self.router, method, path, body).await
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, &Value::Null).await.1
    }
}

/// A request for `test/{name}/1.0.0`.
pub(super) fn request(name: &str) -> Value {
    json!({"name": name, "namespace": "test", "version": "1.0.0", "context": {}})
}

/// The path of a step.
pub(super) fn step_path(task: Uuid, step: &Value) -> String {
    let step = step["workflow_step_uuid"].as_str().unwrap();
    format!("/v1/tasks/{task}/workflow_steps/{step}")
}

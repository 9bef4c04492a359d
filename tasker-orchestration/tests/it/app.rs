//! A service of a test's own, without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tasker_orchestration::service;
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::{CacheConfig, RedisConfig, TaskerConfig};
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_test_support::{Access, TestDatabase};
use tasker_web::{AppParts, Lifecycle};
use tower::ServiceExt;
use uuid::Uuid;

/// A service on a database of its own.
#[derive(Debug)]
pub(crate) struct TestApp {
    pub(crate) context: Arc<SystemContext>,
    pub(crate) lifecycle: Lifecycle,
    router: Router,
    pool: PgPool,
    // Dropped last: the pool is connected to it.
    database: Option<TestDatabase>,
}

/// Status, headers and body of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The body of a problem, with what differs from run to run replaced.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{self:?}"
        );
        let mut problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(
            problem["request_id"].as_str().unwrap(),
            self.headers["x-request-id"].to_str().unwrap()
        );
        problem["request_id"] = json!("[id]");
        problem
    }
}

impl TestApp {
    /// Starts one, with no templates and no cache.
    pub(crate) async fn start() -> Self {
        Self::start_with(TaskerConfig::default()).await
    }

    /// Starts one, with no templates, that caches in the process and in Redis.
    pub(crate) async fn start_cached() -> Self {
        let redis = tasker_test_support::redis().await.unwrap();
        let mut config = TaskerConfig::default();
        config.common.cache = Some(CacheConfig {
            enabled: true,
            key_prefix: format!("it_tasker_test_{}", Uuid::now_v7().simple()),
            redis: Some(RedisConfig {
                url: redis.url().to_owned(),
                ..RedisConfig::default()
            }),
            ..CacheConfig::default()
        });
        Self::start_with(config).await
    }

    pub(crate) async fn start_with(config: TaskerConfig) -> Self {
        let database = TestDatabase::create().await.unwrap();
        let url = database.url().to_owned();
        Self::start_on(database, &url, config).await
    }

    /// Starts one on `database`, which it connects to by `url`.
    pub(crate) async fn start_on(database: TestDatabase, url: &str, config: TaskerConfig) -> Self {
        Self {
            database: Some(database),
            // Boxed, because the futures of tests contain it.
            ..Box::pin(Self::another(url, config)).await
        }
    }

    /// Starts one on the database of another.
    pub(crate) async fn another(url: &str, mut config: TaskerConfig) -> Self {
        let access = Access::to(url);
        access.url.clone_into(&mut config.common.database.url);
        access
            .pool_mode
            .clone_into(&mut config.common.database.pool_mode);
        access
            .direct_url
            .clone_into(&mut config.common.database.direct_url);
        let context = Arc::new(Box::pin(SystemContext::connect(config)).await.unwrap());
        let lifecycle = Lifecycle::new();
        let parts = AppParts::new(&service::INFO, Arc::clone(&context), lifecycle.clone());
        Self {
            router: service::router(&parts),
            context,
            lifecycle,
            pool: PgPool::connect_lazy_with(
                url.parse::<PgConnectOptions>()
                    .unwrap()
                    .application_name("hand"),
            ),
            database: None,
        }
    }

    /// The URL of the service's database.
    pub(crate) fn url(&self) -> &str {
        self.database.as_ref().unwrap().url()
    }

    /// A pool for the test's own statements.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The service's pool.
    pub(crate) fn service_pool(&self) -> &PgPool {
        self.context.database_pool()
    }

    /// Registers `shop/{name}/1.0.0` with `more` keys.
    pub(crate) async fn register(&self, name: &str, more: Value) {
        let mut template = json!({
            "name": name,
            "namespace_name": "shop",
            "version": "1.0.0",
            "task_handler": {"callable": "Shop::Handler"},
            "steps": [{"name": "only", "handler": {"callable": "Shop::Only"}}],
        });
        let keys = template.as_object_mut().unwrap();
        keys.extend(more.as_object().unwrap().clone());
        let document = TemplateDocument::from_json(template).unwrap();
        self.context
            .task_handler_registry
            .register_task_template(&document)
            .await
            .unwrap();
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.into()).unwrap(),
        }
    }

    /// `GET`s a path.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    /// Asks for a task.
    pub(crate) async fn post_task(&self, request: &Value) -> Answer {
        self.post_body(request.to_string()).await
    }

    /// Sends `body` to `/v1/tasks` as JSON.
    pub(crate) async fn post_body(&self, body: impl Into<Body>) -> Answer {
        let request = Request::post("/v1/tasks")
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        self.send(request).await
    }

    /// Asks for a task of `shop/{name}/1.0.0` with `context`.
    pub(crate) async fn task_of(&self, name: &str, context: Value) -> Answer {
        self.post_task(&request_of(name, &context)).await
    }

    /// Waits until the service cannot use what it knew of templates before this call.
    pub(crate) async fn become_current(&self) {
        let cache = &self.context.tasker_config.common.cache;
        let bound = cache.as_ref().map_or(0, |cache| cache.max_staleness_ms);
        tokio::time::sleep(std::time::Duration::from_millis(bound)).await;
    }

    /// Rows of a table of the schema `tasker`.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM tasker.{table}"));
        sqlx::query_scalar(sql)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }
}

/// A request for `shop/{name}/1.0.0`.
pub(crate) fn request_of(name: &str, context: &Value) -> Value {
    json!({"name": name, "namespace": "shop", "version": "1.0.0", "context": context})
}

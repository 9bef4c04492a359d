//! A worker in this process, on a database and a Redis of its own.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::{CacheConfig, RedisConfig, TaskTemplatesConfig, TaskerConfig};
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_test_support::{
    Access, RedisServer, ServiceProcess, TestDatabase, free_port, redis_connection,
};
use tasker_web::{AppParts, Lifecycle, ServiceError};
use tasker_worker::service;
use tasker_worker::worker::TemplateDirectories;
use tempfile::TempDir;
use tower::ServiceExt;

/// Time after which a test gives up waiting for a change to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A worker whose templates are the files in a temporary folder.
pub(crate) struct TestWorker {
    pub(crate) context: Arc<SystemContext>,
    /// Dropped with the worker.
    database: TestDatabase,
    pub(crate) folder: TempDir,
    router: Router,
    lifecycle: Lifecycle,
}

impl TestWorker {
    /// A worker in the environment `test` without a distributed cache.
    pub(crate) async fn without_cache(files: &[(&str, Value)]) -> Self {
        Self::boot(files, TaskerConfig::default()).await
    }

    /// A worker in the environment `test` that caches in `redis`.
    pub(crate) async fn with_redis(files: &[(&str, Value)], redis: &RedisServer) -> Self {
        let mut config = TaskerConfig::default();
        config.common.cache = Some(cache_config(redis));
        Self::boot(files, config).await
    }

    /// A worker whose own cache holds at most `max_entries` templates.
    pub(crate) async fn holding(max_entries: u64, files: &[(&str, Value)]) -> Self {
        let mut config = TaskerConfig::default();
        config.worker.template_cache_entries = max_entries;
        Self::boot(files, config).await
    }

    pub(crate) async fn boot(files: &[(&str, Value)], config: TaskerConfig) -> Self {
        let database = TestDatabase::create().await.unwrap();
        let context = context(&database, config).await;
        let folder = folder(files);
        let (router, lifecycle) = start(&context, folder.path()).await.unwrap();
        Self {
            context,
            database,
            folder,
            router,
            lifecycle,
        }
    }

    /// Boots once more on the same database and folder, as another process would.
    pub(crate) async fn boot_again(&mut self) {
        let (router, lifecycle) = start(&self.context, self.folder.path()).await.unwrap();
        self.router = router;
        self.lifecycle = lifecycle;
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send(request(Method::POST, path)).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Answer {
        let mut request = request(Method::POST, path);
        *request.body_mut() = Body::from(body.to_string());
        self.send(request).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(request(Method::DELETE, path)).await
    }

    pub(crate) async fn get_if_none_match(&self, path: &str, tags: &str) -> Answer {
        let mut request = request(Method::GET, path);
        request
            .headers_mut()
            .insert("if-none-match", tags.parse().unwrap());
        self.send(request).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        answer(&self.router, request).await
    }

    /// Registers a template through this worker's registry.
    pub(crate) async fn register(&self, template: Value) {
        let document = TemplateDocument::from_json(template).unwrap();
        self.context
            .task_handler_registry
            .register_task_template(&document)
            .await
            .unwrap();
    }

    /// Asks until `condition` holds of the answer.
    pub(crate) async fn get_until(
        &self,
        path: &str,
        condition: impl Fn(&Answer) -> bool,
    ) -> Answer {
        let started = Instant::now();
        loop {
            let answer = self.get(path).await;
            if condition(&answer) {
                return answer;
            }
            assert!(started.elapsed() < PATIENCE, "last: {}", answer.body);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A pool for the test's own statements.
    pub(crate) fn admin(&self) -> PgPool {
        PgPool::connect_lazy(self.database.url()).unwrap()
    }

    pub(crate) async fn stop(self) {
        assert!(self.lifecycle.stop(PATIENCE).await);
        self.context.shutdown().await;
    }
}

/// A context with `config` in the environment `test`, on a database that it migrates.
pub(crate) async fn context(
    database: &TestDatabase,
    mut config: TaskerConfig,
) -> Arc<SystemContext> {
    config.common.environment = "test".into();
    lead_to(database.url(), &mut config);
    Arc::new(Box::pin(SystemContext::connect(config)).await.unwrap())
}

/// Has the service take the way of the tests to the database at `url`.
pub(crate) fn lead_to(url: &str, config: &mut TaskerConfig) {
    let access = Access::to(url);
    let database = &mut config.common.database;
    access.pool_mode.clone_into(&mut database.pool_mode);
    database.url = access.url;
    database.direct_url = access.direct_url;
}

/// Templates cached in `redis`.
pub(crate) fn cache_config(redis: &RedisServer) -> CacheConfig {
    CacheConfig {
        enabled: true,
        redis: Some(RedisConfig {
            url: redis.url(),
            max_connections: 2,
            ..RedisConfig::default()
        }),
        // Debug builds on a busy machine are no reason for a miss.
        operation_timeout_ms: 2_000,
        ..CacheConfig::default()
    }
}

/// Starts a worker's services on the templates in `folder`.
pub(crate) async fn start(
    context: &Arc<SystemContext>,
    folder: &Path,
) -> Result<(Router, Lifecycle), ServiceError> {
    let lifecycle = Lifecycle::new();
    let parts = AppParts::new(&service::INFO, Arc::clone(context), lifecycle.clone());
    let directories = TemplateDirectories::named(
        Some(folder.as_os_str() as &OsStr),
        &TaskTemplatesConfig::default(),
    );
    let router = service::start_with(&parts, &directories).await?;
    Ok((router, lifecycle))
}

/// A temporary folder with these documents; JSON is YAML, too.
pub(crate) fn folder(files: &[(&str, Value)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, document) in files {
        std::fs::write(folder.path().join(name), document.to_string()).unwrap();
    }
    folder
}

/// A template that the environment `test` overrides.
pub(crate) fn template(namespace: &str, name: &str) -> Value {
    json!({
        "name": name,
        "namespace_name": namespace,
        "version": "1.0.0",
        "description": "made for a test",
        "metadata": {"notes": "a key that nobody knows"},
        "task_handler": {"callable": "orders.Handler", "initialization": {"retries": 3}},
        "steps": [
            {
                "name": "reserve",
                "type": "standard",
                "handler": {"callable": "orders.Reserve", "initialization": {"limit": 10}},
                "timeout_seconds": 30,
            },
            {
                "name": "decide",
                "type": "decision",
                "dependencies": ["reserve"],
                "handler": {"callable": "orders.Decide"},
            },
        ],
        "environments": {
            "test": {"steps": [{"name": "reserve", "timeout_seconds": 1}]},
            "production": {"steps": [{"name": "reserve", "timeout_seconds": 300}]},
        },
    })
}

/// The keys that `redis` holds, sorted.
pub(crate) async fn keys(redis: &RedisServer) -> Vec<String> {
    let mut connection = redis_connection(&redis.url()).await.unwrap();
    let mut keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap();
    keys.sort();
    keys
}

/// Waits until `redis` holds exactly `expected`.
pub(crate) async fn wait_for_keys(redis: &RedisServer, expected: &[&str]) {
    let started = Instant::now();
    loop {
        let held = keys(redis).await;
        if held == expected {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "held: {held:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a request, without a body if that is null, and returns status and body of the answer.
pub(crate) async fn send(
    router: &Router,
    method: Method,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    let mut request = request(method, path);
    let is_json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, is_json);
    if !body.is_null() {
        *request.body_mut() = Body::from(body.to_string());
    }
    let answer = answer(router, request).await;
    (answer.status.as_u16(), answer.body)
}

async fn answer(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    }
}

/// Sends a request without a body, as [`send`] does.
pub(crate) async fn call(router: &Router, method: Method, path: &str) -> (u16, Value) {
    send(router, method, path, &Value::Null).await
}

fn request(method: Method, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap()
}

/// Starts the program `tasker-worker` on `database`, and returns it with the address that it will
/// listen on.
pub(crate) async fn start_program(
    database: &TestDatabase,
    more: &[(&str, &str)],
) -> (ServiceProcess, String) {
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let mut environment = vec![
        ("DATABASE_URL", database.url()),
        ("TASKER__WORKER__WEB__BIND_ADDRESS", &*address),
    ];
    environment.extend(more);
    let program = Path::new(env!("CARGO_BIN_EXE_tasker-worker"));
    let worker = ServiceProcess::start("tasker-worker", program, &environment).await;
    (worker.unwrap(), address)
}

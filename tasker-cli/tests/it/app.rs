//! A service on a socket, a worker in this process, and the program.

use std::fs;
use std::sync::Arc;

use serde_json::Value;
use tasker_orchestration::service;
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::{CacheConfig, RedisConfig, TaskerConfig};
use tasker_test_support::TestDatabase;
use tasker_web::{AppParts, Lifecycle};
use tasker_worker::worker::TemplateDirectories;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::common::{Outcome, outcome, program};

/// The parts of a test, in the order in which they are dropped.
pub(crate) struct App {
    pub(crate) context: Arc<SystemContext>,
    pub(crate) folder: TempDir,
    pub(crate) database: TestDatabase,
    url: String,
    servers: Mutex<JoinSet<()>>,
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::start_with(TaskerConfig::default()).await
    }

    /// A service that caches in Redis.
    pub(crate) async fn start_with_cache() -> Self {
        let redis = tasker_test_support::redis().await.unwrap();
        let mut config = TaskerConfig::default();
        config.common.cache = Some(CacheConfig {
            enabled: true,
            key_prefix: format!("it_tasker_test_{}", uuid::Uuid::now_v7().simple()),
            // A busy machine must not turn a hit into a miss.
            operation_timeout_ms: 2_000,
            redis: Some(RedisConfig {
                url: redis.url().to_owned(),
                ..RedisConfig::default()
            }),
            ..CacheConfig::default()
        });
        Self::start_with(config).await
    }

    async fn start_with(mut config: TaskerConfig) -> Self {
        let database = TestDatabase::create().await.unwrap();
        database.url().clone_into(&mut config.common.database.url);
        let context = Arc::new(SystemContext::connect(config).await.unwrap());
        let parts = AppParts::new(&service::INFO, Arc::clone(&context), Lifecycle::new());
        let router = service::router(&parts);
        let mut servers = JoinSet::new();
        let url = serve(&mut servers, router).await;
        Self {
            context,
            folder: TempDir::new().unwrap(),
            database,
            url,
            servers: Mutex::new(servers),
        }
    }

    /// Serves the HTTP interface of a worker, and returns its address.
    pub(crate) async fn serve_worker(&self) -> String {
        let info = &tasker_worker::service::INFO;
        let parts = AppParts::new(info, Arc::clone(&self.context), Lifecycle::new());
        let config = &self.context.tasker_config.common.task_templates;
        let folder = self.folder.path().as_os_str();
        let directories = TemplateDirectories::named(Some(folder), config);
        let router = tasker_worker::service::start_with(&parts, &directories).await;
        serve(&mut *self.servers.lock().await, router.unwrap()).await
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// The service and the database, for the program.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("TASKER_URL", self.url.clone()),
            ("DATABASE_URL", self.database.url().to_owned()),
        ]
    }

    /// Runs the program with the service and the database in its environment.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = program(self.folder.path());
        command.args(arguments).envs(self.environment());
        tokio::task::spawn_blocking(move || outcome(&mut command))
            .await
            .unwrap()
    }

    /// Runs the program with `--output json`, and returns its answer.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.run(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.json()
    }
}

async fn serve(servers: &mut JoinSet<()>, router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    servers.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    url
}

/// Asserts the sentence and the remedy of a refused command.
pub(crate) fn assert_refused(outcome: &Outcome, code: i32, sentence: &str, remedy: &str) {
    assert_eq!(outcome.code, code, "{outcome:?}");
    assert!(outcome.stderr.contains(sentence), "{outcome:?}");
    assert!(
        outcome.stderr.contains(&format!("help: {remedy}")),
        "{outcome:?}"
    );
    assert_eq!(outcome.stdout, "");
}

/// Replaces ids, times and hosts, which differ from run to run.
pub(crate) fn steady(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let steady = if key.ends_with("_at") && value.is_string() {
                    Value::from("[time]")
                } else if (key.ends_with("uuid") || key == "correlation_id") && value.is_string() {
                    Value::from("[id]")
                } else if key == "host" || key == "seen" {
                    Value::from("[host]")
                } else {
                    steady(value)
                };
                let key = if key.parse::<uuid::Uuid>().is_ok() {
                    "[id]"
                } else {
                    key
                };
                (key.to_owned(), steady)
            })
            .collect(),
        Value::Array(items) => items.iter().map(steady).collect(),
        Value::String(text) if text.parse::<uuid::Uuid>().is_ok() => Value::from("[id]"),
        other => other.clone(),
    }
}

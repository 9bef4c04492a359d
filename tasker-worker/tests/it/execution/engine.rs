//! A database with templates, a task initializer, and workers in this process.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_orchestration::{TaskInitializer, TemplateLoader};
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::TaskerConfig;
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_test_support::{PATIENCE, TestDatabase, until};
use tasker_worker::{Handlers, Worker};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::support::lead_to;

/// Counts the steps that workers have claimed.
pub(crate) const CLAIMED: &str =
    "SELECT count(*) FROM tasker.step_queue WHERE claimed_by IS NOT NULL";

pub(crate) struct Engine {
    pub(crate) context: Arc<SystemContext>,
    pub(crate) initializer: TaskInitializer,
    pool: PgPool,
    /// Dropped last.
    database: Option<TestDatabase>,
}

impl Engine {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut TaskerConfig)) -> Self {
        let database = TestDatabase::create().await.unwrap();
        let mut config = TaskerConfig::default();
        lead_to(database.url(), &mut config);
        change(&mut config);
        let context = Arc::new(SystemContext::connect(config).await.unwrap());
        let loader = TemplateLoader::new(Arc::clone(&context.task_handler_registry));
        Self {
            initializer: TaskInitializer::new(loader, context.database_pool().clone()),
            pool: PgPool::connect_lazy(database.url()).unwrap(),
            context,
            database: Some(database),
        }
    }

    /// On a database of the caller's.
    pub(crate) fn on(context: Arc<SystemContext>, initializer: TaskInitializer) -> Self {
        Self {
            initializer,
            pool: context.database_pool().clone(),
            context,
            database: None,
        }
    }

    /// Another process's context on the same database.
    pub(crate) async fn another(
        &self,
        change: impl FnOnce(&mut TaskerConfig),
    ) -> Arc<SystemContext> {
        let mut config = (*self.context.tasker_config).clone();
        change(&mut config);
        Arc::new(SystemContext::connect(config).await.unwrap())
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The URL of the database, without a pooler.
    pub(crate) fn url(&self) -> &str {
        self.database.as_ref().unwrap().url()
    }

    pub(crate) fn work(&self, handlers: Handlers) -> Worker {
        Worker::builder(Arc::clone(&self.context))
            .handlers(handlers)
            .start()
    }

    /// Registers `test/{name}/1.0.0` with these steps.
    pub(crate) async fn register(&self, name: &str, steps: Value) {
        let document = TemplateDocument::from_json(json!({
            "name": name, "namespace_name": "test", "version": "1.0.0",
            "identity_strategy": "always_unique", "steps": steps,
        }));
        let registry = &self.context.task_handler_registry;
        registry
            .register_task_template(&document.unwrap())
            .await
            .unwrap();
    }

    pub(crate) async fn create(&self, name: &str, context: Value) -> Uuid {
        let mut request = TaskRequest::new(name, "test");
        request.version = String::from("1.0.0");
        request.context = context.into();
        self.initializer
            .initialize(request)
            .await
            .unwrap()
            .task_uuid
    }

    /// Waits until the task has ended, and returns its state.
    pub(crate) async fn end(&self, task: Uuid) -> String {
        let started = Instant::now();
        loop {
            let state: Option<String> = sqlx::query_scalar(
                "SELECT x.to_state FROM tasker.tasks t JOIN tasker.task_transitions x USING (task_uuid)
                 WHERE t.task_uuid = $1 AND t.ended_at IS NOT NULL AND x.most_recent",
            )
            .bind(task)
            .fetch_optional(self.pool())
            .await
            .unwrap();
            if let Some(state) = state {
                return state;
            }
            let is_late = started.elapsed() > PATIENCE;
            assert!(
                !is_late,
                "the task did not end: {:#?}",
                self.journal(task).await
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Runs a task to its end.
    pub(crate) async fn run(&self, name: &str, context: Value) -> (Uuid, String) {
        let task = self.create(name, context).await;
        let state = self.end(task).await;
        (task, state)
    }

    /// The recorded states of each step, as `step: state state … (reason)`.
    pub(crate) async fn journal(&self, task: Uuid) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT n.name || ':' || coalesce(string_agg(
                        ' ' || x.to_state || '(' || (x.metadata ->> 'reason') || ')', ''
                        ORDER BY x.sort_key), '')
             FROM tasker.workflow_steps s
             JOIN tasker.named_steps n USING (named_step_uuid)
             LEFT JOIN tasker.workflow_step_transitions x USING (workflow_step_uuid)
             WHERE s.task_uuid = $1 GROUP BY n.name ORDER BY n.name",
        )
        .bind(task)
        .fetch_all(self.pool())
        .await
        .unwrap()
    }

    /// The recorded states of a task.
    pub(crate) async fn states(&self, task: Uuid) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT to_state FROM tasker.task_transitions WHERE task_uuid = $1 ORDER BY sort_key",
        )
        .bind(task)
        .fetch_all(self.pool())
        .await
        .unwrap()
    }

    pub(crate) async fn result(&self, task: Uuid, step: &str) -> Value {
        sqlx::query_scalar(
            "SELECT coalesce(s.results, 'null') FROM tasker.workflow_steps s
             JOIN tasker.named_steps n USING (named_step_uuid)
             WHERE s.task_uuid = $1 AND n.name = $2",
        )
        .bind(task)
        .bind(step)
        .fetch_one(self.pool())
        .await
        .unwrap()
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// Waits until a statement counts as many as wanted.
    pub(crate) async fn until(&self, sql: &'static str, is_wanted: impl Fn(i64) -> bool) {
        until(sql, async || is_wanted(self.count(sql).await).then_some(())).await;
    }
}

/// Waits until so many attempts are counted by result, as `complete 1`, and until none was refused as
/// late. They are counted a moment after the database has them.
pub(crate) async fn counted(render: impl Fn() -> String, expected: &[&str]) {
    let started = Instant::now();
    loop {
        let rendered = render();
        let mut counts: Vec<String> = rendered
            .lines()
            .filter_map(|line| line.strip_prefix("tasker_step_attempts_total{result=\""))
            .map(|line| line.replace("\"}", ""))
            .collect();
        counts.sort_unstable();
        if counts == expected {
            let late = rendered
                .lines()
                .find(|line| line.starts_with("tasker_step_results_refused_total "));
            assert!(late.is_none_or(|line| line.ends_with(" 0")), "{late:?}");
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{counts:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A standard step.
pub(crate) fn step(name: &str, callable: &str, dependencies: &[&str]) -> Value {
    json!({"name": name, "handler": {"callable": callable}, "dependencies": dependencies})
}

//! Both services on the schema, and beside the rows, of a workspace that existed before them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use chrono::{DateTime, Utc};
use http::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::TaskerConfig;
use tasker_shared::models::core::identity_strategy::IdentityStrategy;
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_test_support::{RedisServer, TestDatabase};
use tasker_web::{AppParts, Lifecycle};
use tasker_worker::{Handlers, StepContext, StepError, Worker};
use tempfile::TempDir;

use crate::support::{cache_config, call, context, folder, keys, send, start};

const PATIENCE: Duration = Duration::from_secs(20);

/// The task that the workspace had before.
const OLD_TASK: &str = "019b0000-0000-7000-8000-000000000001";

/// A worker and an orchestration service as two processes have them: each has its own context.
struct Workspace {
    worker: Router,
    orchestration: Router,
    worker_context: Arc<SystemContext>,
    orchestration_context: Arc<SystemContext>,
    folder: TempDir,
    lifecycle: Lifecycle,
    pool: PgPool,
    _database: TestDatabase,
}

impl Workspace {
    async fn start(config: TaskerConfig) -> Self {
        let database = TestDatabase::create_existing_workspace().await.unwrap();
        let worker_context = context(&database, config.clone()).await;
        let orchestration_context = context(&database, config).await;
        let folder = folder(&[
            ("strict.yaml", template("strict")),
            ("key.yaml", template("caller_provided")),
            ("always.yaml", template("always_unique")),
        ]);
        let (worker, lifecycle) = start(&worker_context, folder.path()).await.unwrap();
        let parts = AppParts::new(
            &tasker_orchestration::service::INFO,
            Arc::clone(&orchestration_context),
            lifecycle.clone(),
        );
        Self {
            worker,
            orchestration: tasker_orchestration::service::router(&parts),
            worker_context,
            orchestration_context,
            folder,
            lifecycle,
            pool: PgPool::connect_lazy(database.url()).unwrap(),
            _database: database,
        }
    }

    fn pool(&self) -> &PgPool {
        &self.pool
    }

    fn work(&self) -> Worker {
        let handlers = Handlers::new()
            .function("charge", async |step: StepContext| {
                Ok(json!({"attempt": step.attempt()}))
            })
            .function("mail", async |step: StepContext| {
                let charged: Value = step.dependency("charge")?;
                // The second attempt finds transitions of the first one.
                if step.is_retry() || charged["attempt"] != 1 {
                    Ok(json!({"sent": true}))
                } else {
                    Err(StepError::retryable("busy"))
                }
            })
            .function("fail", async |_: StepContext| {
                Err::<(), _>(StepError::permanent("broken"))
            });
        Worker::builder(Arc::clone(&self.worker_context))
            .handlers(handlers)
            .start()
    }

    async fn post(&self, name: &str, more: Value) -> (u16, Value) {
        let mut body = json!({"name": name, "namespace": "billing", "version": "1.0.0"});
        let keys = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(keys);
        send(&self.orchestration, Method::POST, "/v1/tasks", &body).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = call(&self.orchestration, Method::GET, path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Waits until the task has ended, and returns it.
    async fn ended(&self, task: &str) -> Value {
        let started = Instant::now();
        loop {
            let task = self.get(&format!("/v1/tasks/{task}")).await;
            if ["complete", "error", "cancelled"].contains(&task["status"].as_str().unwrap()) {
                return task;
            }
            assert!(started.elapsed() < PATIENCE, "{task:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        assert!(self.lifecycle.stop(PATIENCE).await);
        self.worker_context.shutdown().await;
        self.orchestration_context.shutdown().await;
    }
}

/// A template of the worker's folder.
fn template(strategy: &str) -> Value {
    let retry = json!({"max_attempts": 3, "backoff": "none"});
    json!({
        "name": strategy, "namespace_name": "billing", "version": "1.0.0",
        "identity_strategy": strategy,
        "steps": [
            {"name": "charge", "handler": {"callable": "charge"}},
            {"name": "mail", "handler": {"callable": "mail"}, "dependencies": ["charge"],
             "retry": retry},
        ],
    })
}

/// Each row of the templates' tables, and the version of it that PostgreSQL keeps.
async fn rows(pool: &PgPool) -> BTreeMap<String, String> {
    sqlx::query_as(
        "SELECT named_task_uuid::text, xmin::text FROM tasker.named_tasks
         UNION ALL SELECT task_namespace_uuid::text, xmin::text FROM tasker.task_namespaces
         UNION ALL SELECT 'clock', sequence::text FROM tasker.template_clock",
    )
    .fetch_all(pool)
    .await
    .unwrap()
    .into_iter()
    .collect()
}

fn is_now(time: &Value) -> bool {
    let time: DateTime<Utc> = time.as_str().unwrap().parse().unwrap();
    (Utc::now() - time).abs() < chrono::Duration::minutes(5)
}

/// An older workspace has no column for strategies.
#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_without_strategies_is_migrated() {
    let database = TestDatabase::create_existing_workspace().await.unwrap();
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    connection
        .execute(
            "ALTER TABLE tasker.named_tasks DROP COLUMN identity_strategy;
             DROP TYPE tasker.identity_strategy",
        )
        .await
        .unwrap();
    let context = context(&database, TaskerConfig::default()).await;
    let registry = &context.task_handler_registry;
    let found = registry
        .get_template("billing", "by_key", "1.0.0")
        .await
        .unwrap();
    assert_eq!(found.identity_strategy, IdentityStrategy::Strict);
    context.shutdown().await;
}

async fn works(config: TaskerConfig) {
    let workspace = Box::pin(Workspace::start(config)).await;
    let worker = workspace.work();

    // Discovery writes the first time and not again.
    let before = rows(workspace.pool()).await;
    assert_eq!(before.len(), 3 + 3 + 1 + 1, "{before:?}");
    let again = start(&workspace.worker_context, workspace.folder.path()).await;
    assert!(again.unwrap().1.stop(PATIENCE).await);
    assert_eq!(rows(workspace.pool()).await, before);

    // Templates of the workspace and of the folder are resolved.
    for name in [
        "by_context",
        "by_key",
        "by_request",
        "strict",
        "always_unique",
    ] {
        for (router, path) in [
            (
                &workspace.worker,
                format!("/templates/billing/{name}/1.0.0"),
            ),
            (
                &workspace.orchestration,
                format!("/v1/handlers/billing/{name}"),
            ),
        ] {
            let (status, body) = call(router, Method::GET, &path).await;
            assert_eq!(status, 200, "{path}: {body}");
        }
    }

    // Tasks of each strategy are made once, run to their end, and are read.
    let requested = json!({"requested_at": "2026-05-06T07:08:09Z", "options": {"fast": true}});
    for (name, more, is_found_again) in [
        ("by_context", json!({"context": {"a": 1}}), true),
        ("by_key", json!({"idempotency_key": "k1"}), true),
        ("by_request", json!({}), false),
        ("strict", json!({"context": {"a": 2}}), true),
        ("caller_provided", json!({"idempotency_key": "k2"}), true),
        ("always_unique", requested, false),
    ] {
        let (status, made) = workspace.post(name, more.clone()).await;
        assert_eq!(status, 201, "{name}: {made}");
        assert!(is_now(&made["created_at"]), "{made}");
        let task = made["task_uuid"].as_str().unwrap();
        let ended = workspace.ended(task).await;
        assert_eq!(ended["status"], "complete", "{ended:#}");
        for time in ["created_at", "updated_at", "completed_at"] {
            assert!(is_now(&ended[time]), "{time}: {ended:#}");
        }
        for step in ended["steps"].as_array().unwrap() {
            assert!(is_now(&step["created_at"]), "{step:#}");
            assert!(is_now(&step["processed_at"]), "{step:#}");
            assert!(is_now(&step["last_attempted_at"]), "{step:#}");
        }
        let mail = &ended["steps"][1];
        assert_eq!(
            (&mail["name"], &mail["attempts"]),
            (&json!("mail"), &json!(2))
        );
        if more.get("options").is_some() {
            assert_eq!(ended["options"], json!({"fast": true}));
            assert_eq!(ended["requested_at"], "2026-05-06T07:08:09Z");
        }
        let (status, again) = workspace.post(name, more).await;
        let expected = if is_found_again { 200 } else { 201 };
        assert_eq!(status, expected, "{name}: {again}");
        assert_eq!(again["task_uuid"] == made["task_uuid"], is_found_again);
    }
    worker.drain().await;

    // Old tasks are deleted, with all that refers to them.
    let age =
        "UPDATE tasker.tasks SET ended_at = now() - interval '10 days' WHERE ended_at IS NOT NULL";
    let aged = sqlx::query(age).execute(workspace.pool()).await.unwrap();
    let deleted: i64 = sqlx::query_scalar("SELECT tasker.retain(7, 100)")
        .fetch_one(workspace.pool())
        .await
        .unwrap();
    assert_eq!(deleted.unsigned_abs(), aged.rows_affected());
    workspace.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_services_work_on_it_without_a_cache() {
    Box::pin(works(TaskerConfig::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_services_work_on_it_with_a_cache() {
    let redis = RedisServer::start().await.unwrap();
    let mut config = TaskerConfig::default();
    config.common.cache = Some(cache_config(&redis));
    Box::pin(works(config)).await;
    assert!(!keys(&redis).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_before_are_read_with_their_times_in_utc() {
    let workspace = Box::pin(Workspace::start(TaskerConfig::default())).await;
    let task = workspace.get(&format!("/v1/tasks/{OLD_TASK}")).await;
    assert_eq!(task["status"], "complete");
    assert_eq!(task["requested_at"], "2026-02-03T04:05:06Z");
    assert_eq!(task["created_at"], "2026-02-03T04:05:07Z");
    assert_eq!(task["completed_at"], "2026-02-03T04:05:08Z");
    assert_eq!(task["options"], Value::Null);
    let step = &task["steps"][0];
    assert_eq!(step["processed_at"], "2026-02-03T04:05:08Z");
    assert_eq!(step["last_attempted_at"], "2026-02-03T04:05:07.500Z");
    assert_eq!(step["status"], "complete");
    for filter in ["", "?status=complete", "?namespace=billing&name=by_context"] {
        let listed = workspace.get(&format!("/v1/tasks{filter}")).await;
        let first = &listed["tasks"][0];
        assert_eq!(first["created_at"], "2026-02-03T04:05:07Z", "{filter}");
    }
    let indexes: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_indexes WHERE schemaname = 'tasker' AND indexname IN
             ('tasks_unfinished', 'tasks_failed', 'tasks_of_others', 'task_transitions_to_state',
              'tasks_named_task_uuid_task_uuid', 'tasks_dlq_resolution_status')",
    )
    .fetch_one(workspace.pool())
    .await
    .unwrap();
    assert_eq!(indexes, 6);
    // Without it each deleted transition reads all audit rows.
    let references: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_indexes WHERE tablename = 'workflow_step_result_audit'
             AND indexdef LIKE '%(workflow_step_transition_uuid)'",
    )
    .fetch_one(workspace.pool())
    .await
    .unwrap();
    assert_eq!(references, 1);
    let path = format!(
        "/v1/tasks/{OLD_TASK}/workflow_steps/{}/audit",
        step["workflow_step_uuid"].as_str().unwrap()
    );
    assert_eq!(workspace.get(&path).await[0]["success"], true);

    let path = format!("/v1/tasks/{OLD_TASK}");
    let (status, answer) = call(&workspace.orchestration, Method::DELETE, &path).await;
    assert_eq!((status, &answer["code"]), (409, &json!("task_ended")));
    assert_eq!(workspace.get(&path).await["status"], "complete");
    workspace.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_operators_and_cancellations_work_on_it() {
    let workspace = Box::pin(Workspace::start(TaskerConfig::default())).await;
    let mut failing = template("always_unique");
    failing["name"] = json!("failing");
    failing["steps"][0]["handler"]["callable"] = json!("fail");
    let registry = &workspace.worker_context.task_handler_registry;
    let document = TemplateDocument::from_json(failing);
    registry
        .register_task_template(&document.unwrap())
        .await
        .unwrap();

    let (_, cancelled) = workspace.post("always_unique", json!({})).await;
    let path = format!("/v1/tasks/{}", cancelled["task_uuid"].as_str().unwrap());
    let (status, body) = call(&workspace.orchestration, Method::DELETE, &path).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(workspace.get(&path).await["status"], "cancelled");

    let worker = workspace.work();
    let (_, made) = workspace.post("failing", json!({})).await;
    let task = made["task_uuid"].as_str().unwrap();
    let ended = workspace.ended(task).await;
    assert_eq!(ended["status"], "error", "{ended:#}");
    let pending = workspace.get("/v1/dlq?resolution_status=pending").await;
    assert_eq!(pending["entries"].as_array().unwrap().len(), 1, "{pending}");
    assert_eq!(pending["entries"][0]["task_uuid"], task);
    let failed = workspace
        .get("/v1/tasks?status=error&namespace=billing")
        .await;
    assert_eq!(failed["tasks"][0]["task_uuid"], task);
    let step = ended["steps"][0]["workflow_step_uuid"].as_str().unwrap();
    let action = json!({"action_type": "complete_manually", "completion_data": {"attempt": 2},
        "reason": "paid by hand", "completed_by": "me"});
    let path = format!("/v1/tasks/{task}/workflow_steps/{step}");
    let (status, body) = send(&workspace.orchestration, Method::PATCH, &path, &action).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(workspace.ended(task).await["status"], "complete");
    worker.drain().await;
    workspace.stop().await;
}

/// Steps of a cancelled task may have transitions already.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_step_runs_again_is_cancelled_on_it() {
    let workspace = Box::pin(Workspace::start(TaskerConfig::default())).await;
    let worker = Worker::builder(Arc::clone(&workspace.worker_context))
        .handlers(
            Handlers::new()
                .function("charge", async |_: StepContext| Ok(json!({"attempt": 1})))
                .function("mail", async |step: StepContext| {
                    if step.is_retry() {
                        step.cancelled().await;
                    }
                    Err::<(), _>(StepError::retryable("busy"))
                }),
        )
        .start();
    let (_, made) = workspace.post("always_unique", json!({})).await;
    let path = format!("/v1/tasks/{}", made["task_uuid"].as_str().unwrap());
    let started = Instant::now();
    loop {
        let task = workspace.get(&path).await;
        let mail = &task["steps"][1];
        if mail["attempts"] == 2 && mail["in_process"] == true {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{task:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, body) = call(&workspace.orchestration, Method::DELETE, &path).await;
    assert_eq!(status, 200, "{body}");
    let task = workspace.get(&path).await;
    assert_eq!(task["status"], "cancelled");
    assert_eq!(task["steps"][1]["attempts"], 2);
    let step = task["steps"][1]["workflow_step_uuid"].as_str().unwrap();
    let audit = workspace
        .get(&format!("{path}/workflow_steps/{step}/audit"))
        .await;
    assert_eq!(audit.as_array().unwrap().len(), 2, "{audit}");
    worker.drain().await;
    workspace.stop().await;
}

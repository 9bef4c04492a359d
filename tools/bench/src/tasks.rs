//! `POST /v1/tasks`, warm, beside the same inserts done by hand in one transaction.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::types::Json;
use tasker_orchestration::service;
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::TaskerConfig;
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_web::{AppParts, Lifecycle};
use tower::ServiceExt;
use uuid::Uuid;

use crate::error::BenchError;
use crate::fixtures::{self, SMALL, VERSION};
use crate::measure::{Effort, load, rate, rounds};
use crate::report::{Bar, Report};
use crate::world::World;

const NAMESPACE: &str = "orders";
const NAME: &str = "order";

/// What the inserts refer to.
#[derive(Clone)]
struct Rows {
    pool: PgPool,
    named_task: Uuid,
    named_steps: Arc<Vec<Uuid>>,
}

pub(crate) async fn run(
    world: &World,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let mut config = TaskerConfig::default();
    config.common.database.url = world.database_url().to_owned();
    config.common.cache = Some(world.cache_config());
    let context = Arc::new(SystemContext::connect(config).await?);
    let template = fixtures::document(NAMESPACE, NAME, SMALL);
    let document = TemplateDocument::from_json(template)?;
    context
        .task_handler_registry
        .register_task_template(&document)
        .await?;
    let parts = AppParts::new(&service::INFO, Arc::clone(&context), Lifecycle::new());
    let router = service::router(&parts);
    // The first task has the template's steps named.
    post(&router, 0).await?;
    let rows = rows(context.database_pool(), &document).await?;
    for concurrency in [1, 16, 64] {
        let operations = effort.of(1_000);
        let pairs = rounds(
            effort.rounds,
            || by_request(&router, concurrency, operations),
            || by_hand(&rows, concurrency, operations),
        )
        .await?;
        report.compared(
            format!(
                "POST /v1/tasks, warm, {} steps, c={concurrency}",
                rows.named_steps.len()
            ),
            "/s",
            "the same inserts by hand in one transaction",
            pairs,
            Some(Bar::AtLeast(0.8)),
        );
    }
    context.shutdown().await;
    Ok(())
}

async fn rows(pool: &PgPool, document: &TemplateDocument) -> Result<Rows, BenchError> {
    let named_task: Uuid = sqlx::query_scalar(
        "SELECT named_task_uuid FROM tasker.named_tasks t
         JOIN tasker.task_namespaces n USING (task_namespace_uuid)
         WHERE n.name = $1 AND t.name = $2",
    )
    .bind(NAMESPACE)
    .bind(NAME)
    .fetch_one(pool)
    .await?;
    let names: Vec<String> = document
        .template()
        .steps
        .iter()
        .map(|step| step.name.as_str().to_owned())
        .collect();
    let named_steps: Vec<Uuid> = sqlx::query_scalar(
        "SELECT named_step_uuid FROM tasker.named_steps WHERE name = ANY($1) ORDER BY name",
    )
    .bind(names)
    .fetch_all(pool)
    .await?;
    Ok(Rows {
        pool: pool.clone(),
        named_task,
        named_steps: Arc::new(named_steps),
    })
}

fn context(number: u128) -> Value {
    json!({"order_id": number.to_string().len(), "note": number.to_string()})
}

async fn by_request(
    router: &Router,
    concurrency: usize,
    operations: usize,
) -> Result<f64, BenchError> {
    let router = router.clone();
    let took = load(concurrency, operations, move |_| {
        let router = router.clone();
        async move { post(&router, Uuid::now_v7().as_u128()).await }
    });
    Ok(rate(operations, took.await?))
}

/// Through all layers of the service, without a socket.
async fn post(router: &Router, number: u128) -> Result<(), BenchError> {
    let body = json!({
        "name": NAME, "namespace": NAMESPACE, "version": VERSION, "context": context(number),
    });
    let request = Request::post("/v1/tasks")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("the request is one");
    let answer = router
        .clone()
        .oneshot(request)
        .await
        .unwrap_or_else(|never| match never {});
    let status = answer.status();
    let text = answer
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    if status.is_success() && text.is_ok() {
        return Ok(());
    }
    Err(BenchError::Unexpected {
        what: "the answer to POST /v1/tasks",
        expected: String::from("a task"),
        found: format!("{status} {text:?}"),
    })
}

async fn by_hand(rows: &Rows, concurrency: usize, operations: usize) -> Result<f64, BenchError> {
    let rows = rows.clone();
    let took = load(concurrency, operations, move |_| {
        let rows = rows.clone();
        async move { insert(&rows).await }
    });
    Ok(rate(operations, took.await?))
}

/// One statement for each table, as a careful user would write it.
async fn insert(rows: &Rows) -> Result<(), BenchError> {
    let task = Uuid::now_v7();
    let steps: Vec<Uuid> = rows.named_steps.iter().map(|_| Uuid::now_v7()).collect();
    let ids =
        |count: usize| -> Vec<Uuid> { std::iter::repeat_with(Uuid::now_v7).take(count).collect() };
    let mut transaction = rows.pool.begin().await?;
    sqlx::query(
        "INSERT INTO tasker.tasks
             (task_uuid, named_task_uuid, identity_hash, context, requested_at, correlation_id)
         VALUES ($1, $2, $3, $4, now(), $5)",
    )
    .bind(task)
    .bind(rows.named_task)
    .bind(task.simple().to_string())
    .bind(Json(context(task.as_u128())))
    .bind(Uuid::now_v7())
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO tasker.task_transitions
             (task_transition_uuid, task_uuid, to_state, sort_key, most_recent)
         VALUES ($1, $2, 'pending', 1, true)",
    )
    .bind(Uuid::now_v7())
    .bind(task)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO tasker.workflow_steps
             (workflow_step_uuid, task_uuid, named_step_uuid, retryable, max_attempts)
         SELECT s.step, $1, s.named_step, true, 3
         FROM unnest($2::uuid[], $3::uuid[]) AS s (step, named_step)",
    )
    .bind(task)
    .bind(&steps)
    .bind(&*rows.named_steps)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO tasker.workflow_step_transitions
             (workflow_step_transition_uuid, workflow_step_uuid, to_state, sort_key, most_recent)
         SELECT s.transition, s.step, 'pending', 1, true
         FROM unnest($1::uuid[], $2::uuid[]) AS s (transition, step)",
    )
    .bind(ids(steps.len()))
    .bind(&steps)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO tasker.workflow_step_edges
             (workflow_step_edge_uuid, from_step_uuid, to_step_uuid, name)
         SELECT e.edge, e.from_step, e.to_step, 'provides'
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS e (edge, from_step, to_step)",
    )
    .bind(ids(steps.len().saturating_sub(1)))
    .bind(&steps[..steps.len().saturating_sub(1)])
    .bind(&steps[1..])
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

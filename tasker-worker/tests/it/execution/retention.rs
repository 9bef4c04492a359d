//! Finished tasks that are deleted after their time.

use serde_json::json;
use tasker_worker::{Handlers, StepContext, StepError};

use super::engine::{Engine, step};

#[tokio::test(flavor = "multi_thread")]
async fn old_tasks_are_deleted_in_batches_with_documents_that_nothing_needs() {
    let engine = Engine::start().await;
    let steps = |marker: u32| {
        let mut first = step("a", "ok", &[]);
        first["handler"]["initialization"] = json!({"marker": marker});
        json!([first, step("b", "fails", &["a"])])
    };
    let handlers = Handlers::new()
        .function("ok", async |_: StepContext| Ok(()))
        .function("fails", async |_: StepContext| -> Result<(), _> {
            Err(StepError::permanent("no"))
        });
    let _worker = engine.work(handlers);
    // Three documents: one of old tasks, one of a task that runs, and the registered one.
    engine.register("old", steps(1)).await;
    for _ in 0..5 {
        assert_eq!(engine.run("old", json!({})).await.1, "error");
    }
    engine.register("old", steps(2)).await;
    engine
        .register("waiting", json!([step("a", "nobody.Has", &[])]))
        .await;
    let waiting = engine.create("waiting", json!({})).await;
    engine
        .register("waiting", json!([step("a", "ok", &[])]))
        .await;
    let (recent, _) = engine.run("old", json!({})).await;
    let age = "UPDATE tasker.tasks SET ended_at = ended_at - interval '10 days'
               WHERE ended_at IS NOT NULL AND task_uuid <> $1";
    sqlx::query(age)
        .bind(recent)
        .execute(engine.pool())
        .await
        .unwrap();
    sqlx::query("UPDATE tasker.template_documents SET used_at = now() - interval '2 days'")
        .execute(engine.pool())
        .await
        .unwrap();
    let documents = "SELECT count(*) FROM tasker.template_documents";
    assert_eq!(engine.count(documents).await, 3);

    let retain = async || engine.count("SELECT tasker.retain(7, 2)").await;
    assert_eq!(
        (
            retain().await,
            retain().await,
            retain().await,
            retain().await
        ),
        (2, 2, 1, 0)
    );
    assert_eq!(engine.count(documents).await, 3);
    assert_eq!(engine.count("SELECT tasker.retain_documents()").await, 1);
    assert_eq!(engine.count("SELECT count(*) FROM tasker.tasks").await, 2);
    // Of the old tasks nothing is left, in any table.
    for (table, rows) in [
        ("SELECT count(*) FROM tasker.workflow_steps", 3),
        ("SELECT count(*) FROM tasker.workflow_step_edges", 1),
        ("SELECT count(*) FROM tasker.workflow_step_result_audit", 2),
        ("SELECT count(*) FROM tasker.tasks_dlq", 1),
        (
            "SELECT count(DISTINCT task_uuid) FROM tasker.task_transitions",
            2,
        ),
        (documents, 2),
    ] {
        assert_eq!(engine.count(table).await, rows, "{table}");
    }
    let _nobody =
        engine.work(Handlers::new().function("nobody.Has", async |_: StepContext| Ok(())));
    assert_eq!(engine.end(waiting).await, "complete");
}

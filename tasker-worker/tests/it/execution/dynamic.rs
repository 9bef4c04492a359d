//! Decisions, batches and convergences, with the graphs that they must give.

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tasker_worker::{Handlers, StepContext, StepError, StepOutcome};
use uuid::Uuid;

use super::engine::{Engine, counted, step};

fn typed(name: &str, kind: &str, callable: &str, dependencies: &[&str]) -> Value {
    let mut step = step(name, callable, dependencies);
    step["type"] = json!(kind);
    step
}

/// The edges of a task, as `from>to`, sorted.
pub(super) async fn edges(engine: &Engine, task: Uuid) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT f.name || '>' || t.name
         FROM tasker.workflow_step_edges e
         JOIN tasker.workflow_steps fs ON fs.workflow_step_uuid = e.from_step_uuid
         JOIN tasker.workflow_steps ts ON ts.workflow_step_uuid = e.to_step_uuid
         JOIN tasker.named_steps f ON f.named_step_uuid = fs.named_step_uuid
         JOIN tasker.named_steps t ON t.named_step_uuid = ts.named_step_uuid
         WHERE ts.task_uuid = $1 ORDER BY 1",
    )
    .bind(task)
    .fetch_all(engine.pool())
    .await
    .unwrap()
}

fn approval() -> Value {
    json!([
        step("validate", "ok", &[]),
        typed("route", "decision", "route", &["validate"]),
        typed(
            "finish",
            "deferred_convergence",
            "names",
            &["auto", "manager", "finance"]
        ),
        step("auto", "ok", &["route"]),
        step("manager", "ok", &["route"]),
        step("finance", "ok", &["route"]),
    ])
}

fn handlers() -> Handlers {
    Handlers::new()
        .function("ok", async |_: StepContext| Ok(()))
        .function("names", async |step: StepContext| {
            let mut names = step.dependencies();
            names.sort_unstable();
            Ok(json!(names))
        })
        .function("route", async |step: StepContext| {
            let names: Vec<String> = step.input("branches")?;
            if names.is_empty() {
                return Ok(StepOutcome::no_branches());
            }
            Ok(StepOutcome::create_steps(names))
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_makes_its_branches_and_the_convergence_waits_for_them() {
    let engine = Engine::start().await;
    engine.register("approval", approval()).await;
    let _worker = engine.work(handlers());
    let (task, state) = engine
        .run("approval", json!({"branches": ["manager", "finance"]}))
        .await;
    assert_eq!(state, "complete");
    assert_eq!(
        edges(&engine, task).await,
        [
            "finance>finish",
            "manager>finish",
            "route>finance",
            "route>manager",
            "validate>route"
        ]
    );
    assert_eq!(
        engine.result(task, "finish").await,
        json!(["finance", "manager", "route", "validate"])
    );
    let (task, state) = engine.run("approval", json!({"branches": []})).await;
    assert_eq!(state, "complete");
    assert_eq!(edges(&engine, task).await, ["validate>route"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_names_an_unknown_step_fails_for_good() {
    let engine = Engine::start().await;
    engine.register("approval", approval()).await;
    let _worker = engine.work(handlers());
    let (task, state) = engine
        .run("approval", json!({"branches": ["nobody"]}))
        .await;
    assert_eq!(state, "error");
    let error = engine.result(task, "route").await["error"].clone();
    assert_eq!(error["type"], "InvalidOutcome", "{error}");
}

/// On one thread, whose metrics are those of this test.
#[tokio::test]
async fn a_decision_that_is_refused_counts_as_an_error() {
    let recorder: &'static _ = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let _metrics = metrics::set_default_local_recorder(recorder);
    let engine = Engine::start().await;
    engine.register("approval", approval()).await;
    let _worker = engine.work(handlers());
    let context = json!({"branches": ["nobody"]});
    let (_, state) = engine.run("approval", context).await;
    assert_eq!(state, "error");
    counted(|| recorder.handle().render(), &["complete 1", "error 1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_run_and_their_results_are_summed() {
    let engine = Engine::start().await;
    engine
        .register(
            "batch",
            json!([
                typed("analyze", "batchable", "analyze", &[]),
                typed("work", "batch_worker", "work", &["analyze"]),
                // No batch, although it is named as one.
                step("work_2", "after", &["analyze"]),
                typed("sum", "deferred_convergence", "sum", &["work", "work_2"]),
            ]),
        )
        .await;
    let handlers = Handlers::new()
        .function("analyze", async |step: StepContext| {
            let count: u64 = step.input("batches")?;
            if count == 0 {
                return Ok(StepOutcome::no_batches());
            }
            let cursors = (1..=count)
                .map(|n| json!({"batch_id": format!("{n:03}"), "start_cursor": n, "end_cursor": n + 1, "batch_size": 1}))
                .collect();
            Ok(StepOutcome::create_batches("work", cursors, count))
        })
        .function("work", async |step: StepContext| {
            let inputs: Value = step.inputs()?;
            assert_eq!(inputs["is_no_op"], false);
            Ok(json!(inputs["cursor"]["start_cursor"]))
        })
        .function("after", async |_: StepContext| Ok(()))
        .function("sum", async |step: StepContext| {
            let parts: Vec<(String, i64)> = step.batch("work")?;
            let sum: i64 = parts.iter().map(|(_, part)| part).sum();
            Ok(json!({"sum": sum, "parts": parts.len()}))
        });
    let _worker = engine.work(handlers);
    for (batches, expected) in [
        (0, json!({"sum": 0, "parts": 0})),
        (5, json!({"sum": 15, "parts": 5})),
    ] {
        let (task, state) = engine.run("batch", json!({"batches": batches})).await;
        assert_eq!(state, "complete");
        assert_eq!(engine.result(task, "sum").await, expected);
    }
    let (task, state) = engine.run("batch", json!({"batches": 10_000})).await;
    assert_eq!(state, "complete");
    assert_eq!(
        engine.result(task, "sum").await,
        json!({"sum": 50_005_000, "parts": 10_000})
    );
    let mut expected: Vec<String> = (1..=10_000)
        .flat_map(|n| [format!("analyze>work_{n:03}"), format!("work_{n:03}>sum")])
        .collect();
    expected.extend(["analyze>work_2", "work_2>sum"].map(String::from));
    expected.sort_unstable();
    let mut edges = edges(&engine, task).await;
    edges.sort_unstable();
    assert!(edges == expected, "another graph");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_read_by_the_next_attempt() {
    let engine = Engine::start().await;
    let retry = json!({"max_attempts": 2, "backoff": "none"});
    let steps = json!([{"name": "a", "handler": {"callable": "resume"}, "retry": retry}]);
    engine.register("resume", steps).await;
    let _worker = engine.work(
        Handlers::new().function("resume", async |step: StepContext| {
            if let Some(checkpoint) = step.checkpoint::<Value>()? {
                return Ok(checkpoint);
            }
            step.save_checkpoint(json!({"cursor": 7})).await?;
            Err(StepError::retryable("stopped half-way"))
        }),
    );
    let (task, state) = engine.run("resume", json!({})).await;
    assert_eq!(state, "complete");
    assert_eq!(engine.result(task, "a").await, json!({"cursor": 7}));
}

/// The parts of a graph with decisions that follow from decisions, and a convergence over both.
#[tokio::test(flavor = "multi_thread")]
async fn decisions_follow_from_decisions_up_to_their_limit() {
    let engine = Engine::start_with(|config| config.worker.execution.max_decision_depth = 2).await;
    let decision = |name: &str, parent: &[&str]| typed(name, "decision", "next", parent);
    engine
        .register(
            "nested",
            json!([
                decision("one", &[]),
                decision("two", &["one"]),
                decision("three", &["two"]),
                step("leaf", "ok", &["two"]),
                step("too_deep", "ok", &["three"]),
                step("after", "names", &["leaf"]),
            ]),
        )
        .await;
    let next = async |step: StepContext| {
        let names: Vec<String> = step.input(step.name())?;
        Ok::<_, StepError>(StepOutcome::create_steps(names))
    };
    let _worker = engine.work(handlers().function("next", next));
    let context = json!({"one": ["two"], "two": ["leaf"]});
    let (task, state) = engine.run("nested", context).await;
    assert_eq!(state, "complete", "{:#?}", engine.journal(task).await);
    assert_eq!(
        edges(&engine, task).await,
        ["leaf>after", "one>two", "two>leaf"]
    );
    let context = json!({"one": ["two"], "two": ["three"], "three": ["too_deep"]});
    let (task, state) = engine.run("nested", context).await;
    assert_eq!(state, "error");
    let error = engine.result(task, "three").await["error"].clone();
    assert_eq!(error["type"], "InvalidOutcome", "{error}");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("max_decision_depth"),
        "{error}"
    );
}

//! Tasks whose handlers succeed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tasker_test_support::until;
use tasker_worker::{Handlers, StepContext, StepError, StepOutcome};

use super::engine::{CLAIMED, Engine, step};

async fn square(step: StepContext) -> Result<Value, StepError> {
    let before: Vec<i64> = match step.dependencies().first() {
        Some(_) => ["start", "left", "right"]
            .iter()
            .filter_map(|name| step.dependency::<i64>(name).ok())
            .collect(),
        None => vec![step.input("number")?],
    };
    let number = *before.iter().max().unwrap();
    Ok(json!(number * number))
}

fn squares() -> Handlers {
    Handlers::new().function("square", square)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linear_task_runs_in_order_and_is_recorded() {
    let engine = Engine::start().await;
    let steps = json!([
        step("a", "echo", &[]),
        step("b", "echo", &["a"]),
        step("c", "echo", &["b"]),
        step("d", "echo", &["c"]),
    ]);
    engine.register("linear", steps).await;
    let worker = engine.work(Handlers::new().function("echo", async |step: StepContext| {
        let mut names = step.dependencies();
        names.sort_unstable();
        Ok(json!({"step": step.name(), "after": names}))
    }));
    let (task, state) = engine.run("linear", json!({"n": 1})).await;
    assert_eq!(state, "complete");
    assert_eq!(
        engine.states(task).await,
        ["pending", "steps_in_process", "complete"]
    );
    assert_eq!(
        engine.result(task, "d").await,
        json!({"step": "d", "after": ["a", "b", "c"]})
    );
    let journal = engine.journal(task).await;
    assert_eq!(
        journal[0],
        "a: enqueued(dependencies_complete) in_progress(claimed) complete(handler_completed)"
    );
    assert_eq!(
        journal[3],
        "d: in_progress(claimed) complete(handler_completed)"
    );
    assert_eq!(
        engine.count("SELECT count(*) FROM tasker.step_queue").await,
        0
    );
    assert_eq!(
        engine
            .count("SELECT count(*) FROM tasker.workflow_step_result_audit")
            .await,
        4
    );
    worker.drain().await;
    assert_eq!(engine.count("SELECT count(*) FROM tasker.workers").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diamond_joins_the_results_of_its_branches() {
    let engine = Engine::start().await;
    let steps = json!([
        step("start", "square", &[]),
        step("left", "square", &["start"]),
        step("right", "square", &["start"]),
        step("end", "square", &["left", "right"]),
    ]);
    engine.register("diamond", steps).await;
    let _worker = engine.work(squares());
    let (task, state) = engine.run("diamond", json!({"number": 3})).await;
    assert_eq!(state, "complete");
    assert_eq!(engine.result(task, "end").await, json!(6561));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_a_fan_out_and_its_join_runs_once() {
    let engine =
        Engine::start_with(|config| config.worker.execution.max_concurrent_steps = 10).await;
    let names: Vec<String> = (0..200).map(|n| format!("part_{n}x")).collect();
    let mut steps = vec![step("start", "one", &[])];
    steps.extend(names.iter().map(|name| step(name, "one", &["start"])));
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    steps.push(step("join", "sum", &all));
    engine.register("fan", json!(steps)).await;
    let handlers = Handlers::new()
        .function("one", async |_step: StepContext| Ok(json!(1)))
        .function("sum", async |step: StepContext| {
            let parts = step.dependencies();
            let parts = parts.iter().filter(|name| name.starts_with("part"));
            let mut sum = 0;
            for name in parts {
                sum += step.dependency::<i64>(name)?;
            }
            Ok(json!(sum))
        });
    let _one = engine.work(handlers.clone());
    let _two = engine.work(handlers);
    for _ in 0..3 {
        let (task, state) = engine.run("fan", json!({})).await;
        assert_eq!(state, "complete");
        assert_eq!(engine.result(task, "join").await, json!(200));
    }
    let attempts = "SELECT count(*) FROM tasker.workflow_step_result_audit";
    assert_eq!(engine.count(attempts).await, 3 * 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_steps_is_complete_at_once() {
    let engine = Engine::start().await;
    engine.register("empty", json!([])).await;
    let (_, state) = engine.run("empty", json!({})).await;
    assert_eq!(state, "complete");
}

/// Templates that are registered here cannot have such steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_steps_all_wait_for_each_other_fails_at_once() {
    let engine = Engine::start().await;
    engine.register("empty", json!([])).await;
    let steps = json!([step("a", "square", &["b"]), step("b", "square", &["a"])]);
    sqlx::query(
        "INSERT INTO tasker.named_tasks (task_namespace_uuid, name, version, configuration)
         SELECT task_namespace_uuid, 'circle', version,
                configuration || jsonb_build_object('name', 'circle', 'steps', $1::jsonb)
         FROM tasker.named_tasks",
    )
    .bind(steps)
    .execute(engine.pool())
    .await
    .unwrap();
    let (_, state) = engine.run("circle", json!({})).await;
    assert_eq!(state, "error");
    let reasons =
        "SELECT count(*) FROM tasker.tasks_dlq JOIN tasker.task_transitions USING (task_uuid)
                   WHERE task_transitions.metadata ->> 'reason' = 'no_step_can_run'";
    assert_eq!(engine.count(reasons).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_waits_for_a_worker_that_has_its_handler() {
    let engine = Engine::start().await;
    engine
        .register("one", json!([step("a", "rare", &[])]))
        .await;
    engine
        .register("square", json!([step("a", "square", &[])]))
        .await;
    let task = engine.create("one", json!({})).await;
    // This worker finds its own step behind the one that it has no handler for.
    let _other = engine.work(squares());
    let (_, state) = engine.run("square", json!({"number": 2})).await;
    assert_eq!(state, "complete");
    assert_eq!(engine.count(CLAIMED).await, 0);
    let _rare = engine.work(Handlers::new().function("rare", async |_: StepContext| Ok(())));
    assert_eq!(engine.end(task).await, "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_running_tasks_end_on_the_old_document_and_the_next_one_has_the_new() {
    let engine = Engine::start().await;
    // The documents differ in settings, in steps, and in the branches that a decision creates.
    let document = |color: &str| {
        let settings = json!({"callable": "paint", "initialization": {"color": color}});
        json!([
            {"name": "a", "handler": settings},
            {"name": "choose", "type": "decision", "dependencies": ["a"], "handler": settings},
            {"name": color, "handler": settings, "dependencies": ["choose"]},
            {"name": format!("after_{color}"), "handler": settings, "dependencies": [color]},
        ])
    };
    engine.register("painted", document("red")).await;
    let may_end = tokio::sync::watch::Sender::new(false);
    let started = Arc::new(AtomicUsize::new(0));
    let (ends, counted) = (may_end.clone(), Arc::clone(&started));
    let handlers = Handlers::new().function("paint", move |step: StepContext| {
        let (mut ends, counted) = (ends.subscribe(), Arc::clone(&counted));
        async move {
            counted.fetch_add(1, Ordering::SeqCst);
            ends.wait_for(|may| *may).await.map_err(StepError::from)?;
            let color: String = step.config("color")?;
            if step.name() == "choose" {
                return Ok(StepOutcome::create_steps([color]));
            }
            Ok(StepOutcome::from(json!(color)))
        }
    });
    let _workers = [engine.work(handlers.clone()), engine.work(handlers)];
    let mut tasks = Vec::new();
    for _ in 0..100 {
        tasks.push(engine.create("painted", json!({})).await);
    }
    until("the first step of each task runs", async || {
        (started.load(Ordering::SeqCst) == 100).then_some(())
    })
    .await;
    engine.register("painted", document("blue")).await;
    let next = engine.create("painted", json!({})).await;
    sqlx::query("UPDATE tasker.task_namespaces SET name = 'renamed' WHERE name = 'test'")
        .execute(engine.pool())
        .await
        .unwrap();
    may_end.send_replace(true);
    for task in tasks {
        assert_eq!(engine.end(task).await, "complete");
        assert_eq!(engine.result(task, "after_red").await, json!("red"));
        assert_eq!(engine.journal(task).await.len(), 4);
    }
    assert_eq!(engine.end(next).await, "complete");
    assert_eq!(engine.result(next, "after_blue").await, json!("blue"));
}

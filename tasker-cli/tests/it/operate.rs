//! Commands for operators.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::app::{assert_refused, steady};
use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_task_is_seen_retried_and_completed() {
    let shop = Shop::open().await;
    let app = &shop.app;
    let task = shop.task().await;
    let drawn = app.run(&["task", "show", &task]).await;
    let drawing = drawn.stdout.replace(&task, "[id]");
    insta::assert_snapshot!("task_show", drawing);
    let failed = app.json(&["task", "show", &task]).await;
    assert_eq!(failed["status"], "error");
    let listed = app.json(&["task", "list", "--status", "error"]).await;
    assert_eq!(listed["tasks"][0]["task_uuid"], task.as_str());

    shop.pays.store(true, Ordering::SeqCst);
    let retry = [
        "step",
        "retry",
        &task,
        "pay",
        "--reason",
        "the bank works again",
    ];
    let outcome = app.run(&retry).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let watch = app
        .run(&["task", "watch", &task, "--interval-ms", "20"])
        .await;
    assert_eq!(watch.code, 0, "{watch:?}");
    assert!(
        watch.stdout.contains("(3 of 3 steps complete)"),
        "{watch:?}"
    );
    assert!(!watch.stdout.contains('\x1b'), "{watch:?}");

    let outcome = app.run(&["task", "cancel", &task]).await;
    let remedy = "`tasker task show` shows the state";
    assert_refused(&outcome, 1, "has ended. [task_ended]", remedy);
    let outcome = app.run(&retry).await;
    assert_refused(&outcome, 1, "[step_state_conflict]", remedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_step_is_resolved_or_completed_by_hand() {
    let shop = Shop::open().await;
    let app = &shop.app;
    let (first, second) = (shop.task().await, shop.task().await);
    let by_hand = ["pay", "--reason", "paid in cash", "--by", "ada"];
    let resolve = [&["step", "resolve", &first][..], &by_hand].concat();
    let step = app.json(&resolve).await;
    assert_eq!(step["status"], "resolved_manually");
    let complete = [&["step", "complete", &second][..], &by_hand].concat();
    let complete = [&complete[..], &["--result", "{\"cash\": true}"]].concat();
    let step = app.json(&complete).await;
    assert_eq!(
        step["results"]["cash"]
            .as_bool()
            .or(step["results"]["result"]["cash"].as_bool()),
        Some(true),
        "{step}"
    );
    for task in [&first, &second] {
        let watched = app
            .run(&["task", "watch", task, "--interval-ms", "20"])
            .await;
        assert_eq!(watched.code, 0, "{watched:?}");
    }
    let outcome = app
        .run(&["step", "retry", &first, "pya", "--reason", "x"])
        .await;
    assert_eq!(outcome.code, 1);
    let sentence = "the task has no step pya; it has check, pay, thank";
    assert!(outcome.stderr.contains(sentence), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_shows_steps_that_wait_for_a_worker() {
    let shop = Shop::closed().await;
    let app = &shop.app;
    let run = [
        "task",
        "run",
        "shop/orders/1.0.0",
        "--context",
        "{\"id\": 2}",
    ];
    let created = app.json(&run).await;
    insta::assert_json_snapshot!("task_run_json", steady(&created));
    let outcome = app.run(&run).await;
    assert!(
        outcome.stdout.ends_with(" pending: 3 steps\n"),
        "{outcome:?}"
    );
    let mut queue = app.json(&["queue"]).await;
    queue[0]["oldest_age_seconds"] = json!("[age]");
    insta::assert_json_snapshot!("queue_json", queue);
    let text = app.run(&["queue"]).await.stdout;
    assert!(
        text.starts_with("CALLABLE  DUE  LATER  RUNNING  OLDEST  WORKER\nCheck     2"),
        "{text}"
    );
    assert_eq!(app.json(&["workers"]).await, json!([]));

    let limited = [&run[..], &["--wait", "--wait-limit", "0"]].concat();
    let outcome = app.run(&limited).await;
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("has not ended within 0 s"),
        "{outcome:?}"
    );

    let task = created["task_uuid"].as_str().unwrap();
    let cancelled = app.json(&["task", "cancel", task]).await;
    assert_eq!(
        steady(&cancelled),
        json!({"task_uuid": "[id]", "status": "cancelled"})
    );
    let text = app.run(&["task", "list", "--name", "orders"]).await.stdout;
    assert!(text.starts_with("TASK "), "{text}");
    assert!(text.contains("shop/orders/1.0.0  cancelled"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_listed() {
    let shop = Shop::open().await;
    shop.pays.store(true, Ordering::SeqCst);
    shop.task().await;
    let mut workers = steady(&shop.app.json(&["workers"]).await);
    workers[0]["running"] = json!("[number]");
    workers[0]["callables"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(ToString::to_string);
    insta::assert_json_snapshot!("workers_json", workers);
    let text = shop.app.run(&["workers"]).await.stdout;
    assert!(text.contains("  alive  "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_are_shown() {
    let shop = Shop::closed().await;
    let app = &shop.app;
    let status = app.json(&["cache", "status"]).await;
    assert_eq!(status["cache"]["provider"], "noop", "{status}");
    let text = app.run(&["cache", "status"]).await.stdout;
    assert!(text.contains("cache provider: noop\n"), "{text}");
    let entries = app.json(&["cache", "entries", "--verify"]).await;
    assert_eq!(entries["entries"], json!([]));
    assert_eq!(entries["caching"], false);
    let text = app.run(&["cache", "entries"]).await.stdout;
    assert_eq!(text, "The service has no cache.\n");

    let url = app.serve_worker().await;
    let cleared = app.json(&["cache", "clear", "--worker-url", &url]).await;
    assert_eq!(cleared["success"], true, "{cleared}");
    let text = app
        .run(&["cache", "clear", "--worker-url", &url])
        .await
        .stdout;
    assert!(text.starts_with("cleared: {"), "{text}");
    let outcome = app
        .run(&["cache", "clear", "--worker-url", "mailto:me"])
        .await;
    let remedy = "write a URL such as";
    assert_refused(&outcome, 64, "is not the address of a service", remedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_is_refused_with_a_sentence_and_a_remedy() {
    let shop = Shop::closed().await;
    let app = &shop.app;
    let outcome = app.run(&["task", "run", "shop/oders"]).await;
    let remedy = "`tasker template list` shows the registered templates";
    assert_refused(&outcome, 1, "[template_not_found]", remedy);
    let outcome = app.run(&["task", "run", "a/b/c/d"]).await;
    assert_refused(
        &outcome,
        64,
        "a/b/c/d is not the name of a template",
        "write NAME,",
    );
    for name in ["", "shop/", "shop//1.0.0"] {
        let outcome = app.run(&["task", "run", name]).await;
        let sentence = "is not the name of a template";
        assert_refused(&outcome, 64, sentence, "write NAME,");
    }
    let outcome = app
        .run(&["task", "run", "shop/orders", "--context", "{id"])
        .await;
    assert_refused(
        &outcome,
        64,
        "--context is not JSON: ",
        "write JSON in quotes",
    );
    let outcome = app
        .run(&["task", "run", "shop/orders", "--context", "@absent"])
        .await;
    assert_refused(&outcome, 66, "absent cannot be read", "name a file");
    let outcome = app.run(&["task", "run", "shop/orders"]).await;
    assert_refused(&outcome, 1, "[context_invalid]", "/context");
    let nobody = "00000000-0000-0000-0000-000000000000";
    for command in ["show", "watch", "cancel"] {
        let outcome = app.run(&["task", command, nobody]).await;
        let remedy = "`tasker task list` shows the tasks";
        assert_refused(&outcome, 1, "does not exist. [task_not_found]", remedy);
    }
    let outcome = app.run(&["task", "show", "x"]).await;
    assert_eq!(outcome.code, 64, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_is_too_large_for_the_service_says_so() {
    let shop = Shop::closed().await;
    let context = format!(r#"{{"text": "{}"}}"#, "x".repeat(30 * 1024 * 1024));
    shop.app.write("large.json", &context);
    let run = ["task", "run", "shop/orders", "--context", "@large.json"];
    let outcome = shop.app.run(&run).await;
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("web.max_body_bytes"), "{outcome:?}");
    assert!(outcome.stderr.contains("[body_too_large]"), "{outcome:?}");
}

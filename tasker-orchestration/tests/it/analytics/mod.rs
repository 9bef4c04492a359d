//! `/v1/analytics`: figures that equal a plain computation, and the cache in front of them.
#![expect(clippy::cast_precision_loss, reason = "the numbers are small")]

mod cached;
mod figures;
mod history;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use self::history::History;
use crate::app::TestApp;

#[tokio::test]
async fn nothing_is_no_trouble() {
    let app = TestApp::start().await;
    let performance = app.get("/v1/analytics/performance").await;
    assert_eq!(performance.headers["cache-control"], "no-store");
    let performance = performance.json();
    for key in [
        "total_tasks",
        "completed_tasks",
        "error_rate",
        "average_task_duration_seconds",
    ] {
        assert!(
            performance[key].as_f64().unwrap().abs() < f64::EPSILON,
            "{key}"
        );
    }
    assert_eq!(performance["system_health_score"], 1.0);
    let bottlenecks = app.get("/v1/analytics/bottlenecks").await.json();
    assert_eq!(bottlenecks["slow_steps"], json!([]));
    assert_eq!(bottlenecks["recommendations"], json!([]));
}

#[tokio::test]
async fn wrong_parameters_are_refused() {
    let app = TestApp::start().await;
    for path in [
        "performance?hours=0",
        "performance?hours=721",
        "performance?hours=x",
        "performance?days=1",
        "bottlenecks?limit=0",
        "bottlenecks?limit=101",
        "bottlenecks?min_executions=0",
    ] {
        let answer = app.get(&format!("/v1/analytics/{path}")).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert_eq!(
            answer.problem()["code"],
            "invalid_query_parameter",
            "{path}"
        );
    }
}

#[tokio::test]
async fn requests_at_once_share_one_computation() {
    let app = TestApp::start().await;
    let answers = futures::future::join_all((0..50).map(|_| app.get("/v1/analytics/performance")));
    let mut texts: Vec<String> = answers.await.into_iter().map(|one| one.text).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
}

/// Replaces the sums of rows by a wait, which stands for a million imported rows.
const MANY_ROWS: &str = "
CREATE OR REPLACE FUNCTION tasker.analytics_sum_tasks(p_from timestamptz, p_to timestamptz)
RETURNS SETOF tasker.analytics_tasks LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM pg_sleep(60);
END
$$";

#[tokio::test]
async fn an_import_that_is_not_summed_yet_is_missing_and_counted() {
    let app = TestApp::start().await;
    let mut history = History::new(&app).await;
    let mut random = StdRng::seed_from_u64(7);
    history.add(&app, &mut random, 100).await;
    figures::roll_up(&app).await;
    let path = "/v1/analytics/performance?hours=48";
    let whole = app.get(path).await.json();
    assert_eq!(whole["missing_hours"], 0);
    history.add(&app, &mut random, 10).await;
    let imported = app.count("analytics_dirty").await;
    sqlx::query(MANY_ROWS).execute(app.pool()).await.unwrap();

    let begun = Instant::now();
    let answer = app.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sums = answer.json();
    assert!(begun.elapsed() < Duration::from_secs(5), "{begun:?}");
    assert_eq!(sums["total_tasks"], whole["total_tasks"]);
    // The hour that is under way is never summed to its end.
    let missing = sums["missing_hours"].as_i64().unwrap();
    assert!((1..=imported + 1).contains(&missing), "{missing}");

    let answer = app.get("/v1/analytics/bottlenecks?min_executions=1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sums = answer.json();
    assert_ne!(sums["slow_tasks"], json!([]));
    assert!(sums["missing_hours"].as_i64().unwrap() > 0, "{sums}");
    let advice = sums["recommendations"][0].as_str().unwrap();
    assert!(advice.contains("ask again in some minutes"), "{advice}");
}

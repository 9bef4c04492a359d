//! Figures that equal the plain computation.

use std::collections::BTreeMap;
use std::time::Instant;

use chrono::{DateTime, Utc};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tasker_test_support::until;
use uuid::Uuid;

use super::history::{Attempt, History, mean, seconds};
use crate::app::TestApp;
use crate::process::PATIENCE;

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

fn assert_near(got: &Value, expected: f64, name: &str) {
    let got = got.as_f64().unwrap();
    assert!(
        (got - expected).abs() < 1e-4 * expected.abs().max(1.0),
        "{name}: {got}, not {expected}"
    );
}

pub(super) async fn roll_up(app: &TestApp) {
    while sqlx::query_scalar::<_, bool>("SELECT tasker.analytics_roll_up()")
        .fetch_one(app.pool())
        .await
        .unwrap()
    {}
}

/// Returns the figures with all rows. A busy machine may not read them in time at first.
async fn whole(app: &TestApp, path: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = app.get(&format!("/v1/analytics/{path}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let got = answer.json();
        if got["missing_hours"] == 0 {
            return got;
        }
        assert!(Instant::now() < deadline, "{got}");
    }
}

async fn assert_figures(app: &TestApp, history: &History) {
    for hours in [1, 6, 24, 48] {
        let got = whole(app, &format!("performance?hours={hours}")).await;
        let begin = time(&got["analysis_period_start"]);
        let now = time(&got["calculated_at"]);
        let period = (now - begin).num_milliseconds() as f64 / 3_600_000.0;
        assert!(
            period >= hours.into() && period < f64::from(hours) + 1.0,
            "{period}"
        );
        let expected = history.performance(begin);
        for (key, expected) in [
            ("total_tasks", &expected["total"]),
            ("completed_tasks", &expected["completed"]),
            ("failed_tasks", &expected["failed"]),
        ] {
            assert_eq!(&got[key], expected, "{key} of {hours} hours: {got}");
        }
        assert_eq!(got["active_tasks"], 0);
        let number = |key: &str| expected[key].as_f64().unwrap();
        assert_near(
            &got["completion_rate"],
            number("completion_rate"),
            "completion_rate",
        );
        assert_near(&got["error_rate"], number("error_rate"), "error_rate");
        assert_near(
            &got["average_task_duration_seconds"],
            number("task"),
            "task duration",
        );
        assert_near(
            &got["average_step_duration_seconds"],
            number("step"),
            "step duration",
        );
        let per_hour = |key| (number(key) / period * 100.0).round() / 100.0;
        assert_near(&got["tasks_per_hour"], per_hour("total"), "tasks_per_hour");
        assert_near(
            &got["steps_per_hour"],
            per_hour("attempts"),
            "steps_per_hour",
        );
        assert_near(
            &got["system_health_score"],
            1.0 - number("error_rate"),
            "health",
        );
    }
}

async fn assert_slow_steps(app: &TestApp, history: &History) {
    let got = whole(app, "bottlenecks?limit=100&min_executions=3").await;
    let begin = time(&got["analysis_period_start"]);
    let mut groups: BTreeMap<(usize, usize), Vec<&Attempt>> = BTreeMap::new();
    for attempt in history.attempts.iter().filter(|one| one.at >= begin) {
        groups
            .entry((attempt.template, attempt.step))
            .or_default()
            .push(attempt);
    }
    groups.retain(|_, attempts| attempts.len() >= 3);
    let listed = got["slow_steps"].as_array().unwrap();
    assert_eq!(listed.len(), groups.len());
    let averages: Vec<f64> = listed
        .iter()
        .map(|one| one["average_duration_seconds"].as_f64().unwrap())
        .collect();
    assert!(averages.is_sorted_by(|a, b| a >= b), "{averages:?}");
    for ((template, step), attempts) in groups {
        let (task, step) = (
            ["first", "second", "third"][template],
            format!("step_{step}"),
        );
        let found = listed
            .iter()
            .find(|one| one["task_name"] == task && one["step_name"] == step);
        let found = found.unwrap_or_else(|| panic!("{task} {step}"));
        let times: Vec<f64> = attempts
            .iter()
            .filter_map(|one| Some(one.ms? as f64 / 1_000.0))
            .collect();
        assert_near(&found["average_duration_seconds"], mean(&times), "average");
        let longest = times.iter().copied().fold(0.0, f64::max);
        assert_near(&found["max_duration_seconds"], longest, "maximum");
        assert_eq!(found["execution_count"], attempts.len());
        let errors = attempts.iter().filter(|one| !one.success).count();
        assert_eq!(found["error_count"], errors);
        let last = attempts.iter().map(|one| one.at).max().unwrap();
        assert_eq!(time(&found["last_executed_at"]), last);
    }
}

async fn assert_slow_tasks(app: &TestApp, history: &History) {
    let got = whole(app, "bottlenecks?limit=2&min_executions=1").await;
    let begin = time(&got["analysis_period_start"]);
    let mut expected: Vec<(f64, &str, usize)> = (0..3)
        .map(|template| {
            let ended: Vec<_> = history
                .ended
                .iter()
                .filter(|one| one.ended_at >= begin && one.template == template)
                .collect();
            let complete: Vec<f64> = ended
                .iter()
                .filter(|one| one.state == "complete")
                .map(|one| seconds(one))
                .collect();
            (
                mean(&complete),
                ["first", "second", "third"][template],
                ended.len(),
            )
        })
        .collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    let listed = got["slow_tasks"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for (got, (average, name, count)) in listed.iter().zip(expected) {
        assert_eq!(got["task_name"], name);
        assert_near(&got["average_duration_seconds"], average, "average");
        assert_eq!(got["execution_count"], count);
    }
}

#[tokio::test]
async fn figures_equal_a_plain_computation_however_much_of_them_is_summed_already() {
    let app = TestApp::start().await;
    let mut random = StdRng::seed_from_u64(21);
    let mut history = History::new(&app).await;
    // The sums have not begun, and every row is read.
    history.add(&app, &mut random, 150).await;
    assert_figures(&app, &history).await;
    // Everything that is old enough is summed.
    roll_up(&app).await;
    assert_eq!(app.count("analytics_dirty").await, 0);
    assert!(app.count("analytics_steps").await > 0);
    assert_figures(&app, &history).await;
    // Rows that were imported later, with times of hours that are summed.
    history.add(&app, &mut random, 150).await;
    assert!(app.count("analytics_dirty").await > 0);
    assert_figures(&app, &history).await;
    assert_slow_steps(&app, &history).await;
    roll_up(&app).await;
    assert_figures(&app, &history).await;
    assert_slow_steps(&app, &history).await;
    assert_slow_tasks(&app, &history).await;
}

#[tokio::test]
async fn a_row_of_a_transaction_that_was_open_meanwhile_is_counted() {
    let app = TestApp::start().await;
    let history = History::new(&app).await;
    let mut open = app.pool().begin().await.unwrap();
    let task = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO tasker.tasks (task_uuid, named_task_uuid, identity_hash, requested_at,
             created_at, updated_at) VALUES ($1, $2, 'open', now(), now(), now())",
    )
    .bind(task)
    .bind(history.templates[0])
    .execute(&mut *open)
    .await
    .unwrap();
    let sql = "INSERT INTO tasker.task_transitions (task_transition_uuid, task_uuid, to_state,
                   sort_key, most_recent, created_at, updated_at)
               VALUES (tasker.uuidv7(), $1, 'complete', 1, true, clock_timestamp(), now())";
    sqlx::query(sql)
        .bind(task)
        .execute(&mut *open)
        .await
        .unwrap();
    // A mark while the transaction is open. However old it gets, the sums do not move on to it.
    let id = sqlx::query_scalar::<_, String>("SELECT pg_current_xact_id()::text");
    let id = id.fetch_one(&mut *open).await.unwrap();
    let marked = async || {
        // Does nothing while the service does the same.
        roll_up(&app).await;
        let sql = "SELECT mark_xid > $1::text::xid8 FROM tasker.analytics_progress";
        let is_later = sqlx::query_scalar::<_, bool>(sql).bind(&id);
        is_later.fetch_one(app.pool()).await.unwrap().then_some(())
    };
    until("a mark while the transaction is open", marked).await;
    for _ in 0..3 {
        let sql =
            "UPDATE tasker.analytics_progress SET mark_at = clock_timestamp() + interval '1 hour'";
        sqlx::query(sql).execute(app.pool()).await.unwrap();
        roll_up(&app).await;
    }
    open.commit().await.unwrap();
    assert_eq!(
        whole(&app, "performance?hours=1").await["completed_tasks"],
        1
    );
}

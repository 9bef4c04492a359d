//! `/v1/analytics`: figures that equal a plain computation, and the cache in front of them.
#![expect(clippy::cast_precision_loss, reason = "the numbers are small")]

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tasker_shared::cache::CacheService;
use tasker_shared::config::tasker::{CacheConfig, RedisConfig, TaskerConfig};
use tasker_test_support::RedisServer;
use uuid::Uuid;

use crate::app::TestApp;

const ENDS: [&str; 4] = ["complete", "error", "cancelled", "resolved_manually"];

/// A task that ended.
struct Task {
    template: usize,
    created_at: DateTime<Utc>,
    ended_at: DateTime<Utc>,
    state: &'static str,
}

/// An attempt of a step.
struct Attempt {
    template: usize,
    step: usize,
    at: DateTime<Utc>,
    success: bool,
    ms: Option<i64>,
}

/// Rows of a test's own, in the database and as they were made.
#[derive(Default)]
struct History {
    templates: Vec<Uuid>,
    steps: Vec<Uuid>,
    ended: Vec<Task>,
    attempts: Vec<Attempt>,
}

fn microseconds(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::microseconds(1)).unwrap()
}

impl History {
    async fn new(app: &TestApp) -> Self {
        for name in ["first", "second", "third"] {
            app.register(name, json!({})).await;
        }
        let sql = "SELECT named_task_uuid FROM tasker.named_tasks ORDER BY name";
        let templates = sqlx::query_scalar(sql).fetch_all(app.pool()).await.unwrap();
        let sql = "INSERT INTO tasker.named_steps (name, created_at, updated_at)
                   SELECT 'step_' || n, now(), now() FROM generate_series(0, 3) n
                   RETURNING named_step_uuid";
        let steps = sqlx::query_scalar(sql).fetch_all(app.pool()).await.unwrap();
        Self {
            templates,
            steps,
            ..Self::default()
        }
    }

    /// Writes `tasks` random tasks that ended within the last 50 hours.
    async fn add(&mut self, app: &TestApp, random: &mut StdRng, tasks: usize) {
        let mut transaction = app.pool().begin().await.unwrap();
        for _ in 0..tasks {
            let template = random.random_range(0..self.templates.len());
            let age = TimeDelta::seconds(random.random_range(0..50 * 3600));
            let ended_at = microseconds(Utc::now() - age);
            let created_at = ended_at - TimeDelta::microseconds(random.random_range(0..9_000_000));
            let state = ENDS[[0, 0, 0, 1, 1, 2, 3][random.random_range(0..7)]];
            let task = Uuid::now_v7();
            sqlx::query(
                "INSERT INTO tasker.tasks (task_uuid, named_task_uuid, complete, requested_at,
                     identity_hash, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $4, now())",
            )
            .bind(task)
            .bind(self.templates[template])
            .bind(state == "complete")
            .bind(created_at)
            .bind(task.to_string())
            .execute(&mut *transaction)
            .await
            .unwrap();
            sqlx::query(
                "INSERT INTO tasker.task_transitions (task_transition_uuid, task_uuid, to_state,
                     sort_key, most_recent, created_at, updated_at)
                 SELECT tasker.uuidv7(), $1, s, n, n = 2, $2, now()
                 FROM unnest(ARRAY['steps_in_process', $3]) WITH ORDINALITY AS x (s, n)",
            )
            .bind(task)
            .bind(ended_at)
            .bind(state)
            .execute(&mut *transaction)
            .await
            .unwrap();
            self.ended.push(Task {
                template,
                created_at,
                ended_at,
                state,
            });
            for step in 0..random.random_range(1..4) {
                let uuid = Uuid::now_v7();
                sqlx::query(
                    "INSERT INTO tasker.workflow_steps (workflow_step_uuid, task_uuid,
                         named_step_uuid, created_at, updated_at)
                     VALUES ($1, $2, $3, now(), now())",
                )
                .bind(uuid)
                .bind(task)
                .bind(self.steps[step])
                .execute(&mut *transaction)
                .await
                .unwrap();
                let at =
                    microseconds(ended_at - TimeDelta::milliseconds(i64::try_from(step).unwrap()));
                let attempt = Attempt {
                    template,
                    step,
                    at,
                    success: random.random_bool(0.8),
                    ms: random
                        .random_bool(0.9)
                        .then(|| random.random_range(0..5_000)),
                };
                sqlx::query(
                    "INSERT INTO tasker.workflow_step_result_audit (workflow_step_uuid,
                         workflow_step_transition_uuid, task_uuid, recorded_at, success,
                         execution_time_ms, created_at, updated_at)
                     VALUES ($1, $2, $3, $4, $5, $6, now(), now())",
                )
                .bind(uuid)
                .bind(Uuid::now_v7())
                .bind(task)
                .bind(at.naive_utc())
                .bind(attempt.success)
                .bind(attempt.ms)
                .execute(&mut *transaction)
                .await
                .unwrap();
                self.attempts.push(attempt);
            }
        }
        transaction.commit().await.unwrap();
    }

    /// The plain computation: every task and attempt, one after the other.
    fn performance(&self, begin: DateTime<Utc>) -> Value {
        let ended: Vec<_> = self
            .ended
            .iter()
            .filter(|one| one.ended_at >= begin)
            .collect();
        let attempts: Vec<_> = self.attempts.iter().filter(|one| one.at >= begin).collect();
        let durations: Vec<f64> = ended
            .iter()
            .filter(|one| one.state == "complete")
            .map(|one| seconds(one))
            .collect();
        let times: Vec<f64> = attempts
            .iter()
            .filter_map(|one| Some(one.ms? as f64 / 1_000.0))
            .collect();
        let of = |state: &str| ended.iter().filter(|one| one.state == state).count();
        json!({
            "total": ended.len(), "completed": of("complete"), "failed": of("error"),
            "completion_rate": of("complete") as f64 / ended.len() as f64,
            "error_rate": of("error") as f64 / ended.len() as f64,
            "task": mean(&durations), "step": mean(&times), "attempts": attempts.len(),
        })
    }
}

fn seconds(task: &Task) -> f64 {
    (task.ended_at - task.created_at)
        .num_microseconds()
        .unwrap() as f64
        / 1e6
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

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

async fn roll_up(app: &TestApp) {
    while sqlx::query_scalar::<_, bool>("SELECT tasker.analytics_roll_up()")
        .fetch_one(app.pool())
        .await
        .unwrap()
    {}
}

async fn assert_figures(app: &TestApp, history: &History) {
    for hours in [1, 6, 24, 48] {
        let answer = app
            .get(&format!("/v1/analytics/performance?hours={hours}"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let got = answer.json();
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
    let got = app
        .get("/v1/analytics/bottlenecks?limit=100&min_executions=3")
        .await
        .json();
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
    let got = app
        .get("/v1/analytics/bottlenecks?limit=2&min_executions=1")
        .await
        .json();
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
    let hours = 1;
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
    roll_up(&app).await;
    for _ in 0..3 {
        let sql =
            "UPDATE tasker.analytics_progress SET mark_at = clock_timestamp() + interval '1 hour'";
        sqlx::query(sql).execute(app.pool()).await.unwrap();
        roll_up(&app).await;
    }
    open.commit().await.unwrap();
    let path = format!("/v1/analytics/performance?hours={hours}");
    assert_eq!(app.get(&path).await.json()["completed_tasks"], 1);
}

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

fn config(redis: &str, ttl: u32) -> TaskerConfig {
    let mut config = TaskerConfig::default();
    config.common.cache = Some(CacheConfig {
        enabled: true,
        key_prefix: format!("analytics-{}", Uuid::now_v7().simple()),
        analytics_ttl_seconds: ttl,
        // A busy machine must not turn a hit into a miss.
        operation_timeout_ms: 2_000,
        redis: Some(RedisConfig {
            url: redis.to_owned(),
            ..RedisConfig::default()
        }),
        ..CacheConfig::default()
    });
    config
}

const FILLED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_answer_is_kept_under_its_parameters_until_it_expires() {
    let redis = tasker_test_support::redis().await.unwrap();
    let config = config(redis.url(), 2);
    let prefix = config.common.cache.as_ref().unwrap().key_prefix.clone();
    let app = TestApp::start_with(config).await;
    let cache = app.context.cache_provider().clone();

    let path = "/v1/analytics/performance?hours=6";
    let miss = app.get(path).await;
    assert_eq!(miss.headers["age"], "0");
    assert_eq!(miss.headers["cache-control"], "private, max-age=2");
    assert!(cache.flush_fills(FILLED).await);
    let key = format!("{prefix}:analytics:performance:6");
    assert_eq!(cache.get(&key).await.unwrap().unwrap(), miss.text);
    let hit = app.get(path).await;
    assert_eq!(hit.text, miss.text);
    let other = app.get("/v1/analytics/performance?hours=7").await;
    assert_ne!(other.json()["calculated_at"], miss.json()["calculated_at"]);

    app.get("/v1/analytics/bottlenecks?limit=3&min_executions=4")
        .await;
    assert!(cache.flush_fills(FILLED).await);
    let key = format!("{prefix}:analytics:bottlenecks:3:4");
    assert!(cache.get(&key).await.unwrap().is_some());

    let mut latest = hit;
    let expired = tokio::time::timeout(FILLED, async {
        while latest.text == miss.text {
            tokio::time::sleep(Duration::from_millis(50)).await;
            latest = app.get(path).await;
        }
    });
    expired.await.unwrap();
    assert_eq!(latest.headers["age"], "0");
}

#[tokio::test]
async fn the_age_of_a_hit_is_that_of_its_figures() {
    let redis = tasker_test_support::redis().await.unwrap();
    let config = config(redis.url(), 60);
    let prefix = config.common.cache.as_ref().unwrap().key_prefix.clone();
    let app = TestApp::start_with(config).await;
    let old = json!({"calculated_at": Utc::now() - TimeDelta::seconds(42), "total_tasks": 7});
    let key = format!("{prefix}:analytics:performance:24");
    let ttl = Duration::from_mins(1);
    app.context
        .cache_provider()
        .set(&key, &old.to_string(), ttl)
        .await
        .unwrap();
    let hit = app.get("/v1/analytics/performance").await;
    assert_eq!(hit.json()["total_tasks"], 7);
    let age: u64 = hit.headers["age"].to_str().unwrap().parse().unwrap();
    assert!((42..60).contains(&age), "{age}");
    // A value that is no answer is a miss.
    app.context
        .cache_provider()
        .set(&key, "{\"half", ttl)
        .await
        .unwrap();
    assert_eq!(
        app.get("/v1/analytics/performance").await.json()["total_tasks"],
        0
    );
}

#[tokio::test]
async fn answers_come_from_postgresql_while_redis_is_killed() {
    let redis = RedisServer::start().await.unwrap();
    let app = TestApp::start_with(config(&redis.url(), 60)).await;
    let path = "/v1/analytics/performance";
    let first = app.get(path).await;
    assert!(app.context.cache_provider().flush_fills(FILLED).await);
    assert_eq!(app.get(path).await.text, first.text);
    redis.kill().await.unwrap();
    for _ in 0..20 {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_ne!(answer.text, first.text);
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

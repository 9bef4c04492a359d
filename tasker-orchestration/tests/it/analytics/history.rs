//! Random tasks, in the database and as they were made, and a plain computation of their figures.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::TestApp;

const ENDS: [&str; 4] = ["complete", "error", "cancelled", "resolved_manually"];

/// A task that ended.
pub(super) struct Task {
    pub(super) template: usize,
    created_at: DateTime<Utc>,
    pub(super) ended_at: DateTime<Utc>,
    pub(super) state: &'static str,
}

/// An attempt of a step.
pub(super) struct Attempt {
    pub(super) template: usize,
    pub(super) step: usize,
    pub(super) at: DateTime<Utc>,
    pub(super) success: bool,
    pub(super) ms: Option<i64>,
}

/// Rows of a test's own, in the database and as they were made.
#[derive(Default)]
pub(super) struct History {
    pub(super) templates: Vec<Uuid>,
    steps: Vec<Uuid>,
    pub(super) ended: Vec<Task>,
    pub(super) attempts: Vec<Attempt>,
}

fn microseconds(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::microseconds(1)).unwrap()
}

impl History {
    pub(super) async fn new(app: &TestApp) -> Self {
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
    pub(super) async fn add(&mut self, app: &TestApp, random: &mut StdRng, tasks: usize) {
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
    pub(super) fn performance(&self, begin: DateTime<Utc>) -> Value {
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

pub(super) fn seconds(task: &Task) -> f64 {
    (task.ended_at - task.created_at)
        .num_microseconds()
        .unwrap() as f64
        / 1e6
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

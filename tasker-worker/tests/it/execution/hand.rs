//! A worker whose statements a test sends itself.

use serde_json::json;
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};
use tasker_shared::execution::{
    self, AttemptEnd, AttemptId, Bounds, EndState, ExecutionRow, LostSteps, Scope, WorkerRow,
};
use tasker_worker::{Handlers, StepContext};
use uuid::Uuid;

use super::engine::Engine;

/// The workers that a step may lose.
pub(super) const MAX_LOST_ATTEMPTS: i32 = 4;

/// A worker whose statements a test sends itself.
pub(super) struct Hand {
    pub(super) connection: PgConnection,
    pub(super) worker: Uuid,
    pub(super) scope: Scope,
}

impl Hand {
    pub(super) async fn register(engine: &Engine) -> Self {
        let mut connection = PgConnection::connect(engine.url()).await.unwrap();
        let row = WorkerRow {
            worker_uuid: Uuid::now_v7(),
            name: String::from("hand"),
            host: String::from("here"),
            capacity: 100,
            lease_seconds: 600,
            max_lost_attempts: MAX_LOST_ATTEMPTS,
        };
        let scope = Scope {
            callables: vec![String::from("ok")],
            patterns: Vec::new(),
        };
        execution::register_worker(&mut connection, &row, &scope)
            .await
            .unwrap();
        Self {
            connection,
            worker: row.worker_uuid,
            scope,
        }
    }

    pub(super) async fn claim(&mut self, want: i32) -> Vec<AttemptId> {
        let bounds = Bounds::default();
        let rows = execution::claim(
            &mut self.connection,
            self.worker,
            want,
            &self.scope,
            &bounds,
        );
        steps(&rows.await.unwrap())
    }

    /// Completes an attempt, and claims up to `want` of the steps that it makes ready.
    pub(super) async fn complete(&mut self, id: AttemptId, want: i32) -> Vec<ExecutionRow> {
        self.end(&[id], EndState::Complete, want, None).await
    }

    /// Ends attempts, and claims up to `want` of the steps that they make ready, and of the queue's from
    /// `bounds` on.
    pub(super) async fn end(
        &mut self,
        ids: &[AttemptId],
        state: EndState,
        want: i32,
        bounds: Option<&Bounds>,
    ) -> Vec<ExecutionRow> {
        let end = |&id: &AttemptId| AttemptEnd {
            id,
            state,
            result: Some(Json(serde_json::value::to_raw_value(&1).unwrap())),
            duration_ms: 1,
            metadata: json!({"reason": "handler_completed", "attempt": id.attempt}),
        };
        let ends: Vec<AttemptEnd> = ids.iter().map(end).collect();
        let ends: Vec<&AttemptEnd> = ends.iter().collect();
        let done = execution::complete(
            &mut self.connection,
            self.worker,
            &ends,
            want,
            &self.scope,
            bounds,
        );
        done.await.unwrap()
    }

    pub(super) async fn order(&mut self, sql: &'static str) {
        sqlx::query(sql)
            .execute(&mut self.connection)
            .await
            .unwrap();
    }

    /// Makes the lease end, and lets another service see it.
    pub(super) async fn lose(&mut self, engine: &Engine) -> LostSteps {
        self.order("UPDATE tasker.workers SET seen_at = now() - interval '1 hour'")
            .await;
        let mut other = engine.pool().acquire().await.unwrap();
        execution::requeue_lost(&mut other).await.unwrap()
    }
}

pub(super) fn steps(rows: &[ExecutionRow]) -> Vec<AttemptId> {
    let steps = rows.iter().filter(|row| row.kind == "step");
    steps
        .map(|row| AttemptId {
            task_uuid: row.task_uuid.unwrap(),
            step_uuid: row.workflow_step_uuid.unwrap(),
            attempt: row.attempt.unwrap(),
        })
        .collect()
}

pub(super) fn returned(steps: i64) -> LostSteps {
    LostSteps {
        returned: steps,
        given_up: 0,
    }
}

pub(super) fn is_refused(rows: &[ExecutionRow]) -> bool {
    rows.iter().any(|row| row.kind == "refused")
}

pub(super) fn ok() -> Handlers {
    Handlers::new().function("ok", async |step: StepContext| Ok(json!(step.attempt())))
}

//! Operators, who act at random on steps of tasks that failed, and of some that run.

use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Chaos;
use super::history::{ACTIONS, Action};
use super::members::ORCHESTRATIONS;
use super::shapes::{self, BY_HAND};
use crate::clock;

const PAUSE_MS: std::ops::Range<u64> = 50..400;
/// The share of tasks that have not failed, and of steps that two operators act on at once.
const RUNNING: f64 = 0.3;
const TOGETHER: f64 = 0.2;

/// Task, step, name and seed.
type Target = (Uuid, Uuid, String, i64);

pub(super) async fn act_all(chaos: Arc<Chaos>, mut random: StdRng) {
    while !chaos.is_ending() {
        clock::pause(&mut random, PAUSE_MS).await;
        let has_failed = !random.random_bool(RUNNING);
        // PostgreSQL fails at times.
        if let Ok(mut connection) = chaos.world.connect().await
            && let Ok(Some(target)) = find(&mut connection, has_failed).await
        {
            let action = || ACTIONS[rand::random_range(0..ACTIONS.len())];
            let first = act(&chaos, &target, action(), ORCHESTRATIONS.start);
            if random.random_bool(TOGETHER) {
                let second = act(&chaos, &target, action(), ORCHESTRATIONS.start + 1);
                tokio::join!(first, second);
            } else {
                first.await;
            }
        }
    }
}

/// Finds an unfinished step. Each third task is left alone, so that some stay failed. Only the last step of
/// a task may wait for others, because the inputs of steps after it would depend on the moment.
async fn find(
    connection: &mut PgConnection,
    has_failed: bool,
) -> Result<Option<Target>, sqlx::Error> {
    sqlx::query_as(
        r"SELECT s.task_uuid, s.workflow_step_uuid, n.name::text, (t.context ->> 'seed')::bigint
         FROM tasker.workflow_steps s
         JOIN tasker.tasks t USING (task_uuid)
         JOIN tasker.named_steps n USING (named_step_uuid)
         JOIN tasker.task_transitions x ON x.task_uuid = t.task_uuid AND x.most_recent
         WHERE NOT s.processed AND x.to_state <> 'cancelled'
             AND (t.context ->> 'seed')::bigint % 3 <> 0
             AND (x.to_state IN ('error', 'blocked_by_failures')) = $1
             AND (n.name LIKE 'end\_%' OR NOT EXISTS (
                 SELECT FROM tasker.workflow_step_edges e
                 JOIN tasker.workflow_steps p ON p.workflow_step_uuid = e.from_step_uuid
                 WHERE e.to_step_uuid = s.workflow_step_uuid AND NOT p.processed))
         ORDER BY random() LIMIT 1",
    )
    .bind(has_failed)
    .fetch_optional(connection)
    .await
}

async fn act(
    chaos: &Chaos,
    (task, step, name, seed): &Target,
    action: &'static str,
    service: usize,
) {
    let mut body = json!({"action_type": action, "reason": "at random"});
    let (by, result) = match action {
        "reset_for_retry" => ("reset_by", None),
        "resolve_manually" => ("resolved_by", None),
        _ => {
            let mut result = shapes::result(name, seed.cast_unsigned());
            result["sum"] = json!(BY_HAND);
            ("completed_by", Some(result))
        }
    };
    body[by] = json!("chaos");
    if let Some(result) = result {
        body["completion_data"] = result;
    }
    // Before the request, because it may be carried out although its answer is lost.
    let index = chaos.note(|history| {
        history.tasks.entry(*task).or_default().is_operated = true;
        history.actions.push(Action {
            step: *step,
            name: action,
            is_done: false,
        });
        history.actions.len() - 1
    });
    let url = chaos.processes.url(service);
    let url = format!("{url}/v1/tasks/{task}/workflow_steps/{step}");
    let start = clock::now();
    match chaos.processes.http.patch(url).json(&body).send().await {
        Ok(answer) if answer.status().is_success() => {
            chaos.note(|history| history.actions[index].is_done = true);
        }
        refused => chaos.refused(&refused, " to an operator", service, start),
    }
}

//! A history of tasks: as their creators saw them, as the handlers noted them in their output and in a
//! table of their own, and the transitions.
//!
//! All moments are those of [`clock::now`]. Those of transitions were PostgreSQL's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::clock;
use crate::fault::Happened;

/// A task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Task {
    pub(crate) shape: String,
    pub(crate) seed: u64,
    pub(crate) is_ended: bool,
    /// Its recorded states, in order.
    pub(crate) states: Vec<String>,
    /// Known if the answer to its creator arrived.
    pub(crate) asked: Option<Asked>,
    /// Set if its cancellation was requested.
    pub(crate) is_cancelled: bool,
    /// Set if an operator was sent to one of its steps.
    pub(crate) is_operated: bool,
    /// Entries of the DLQ that wait for an operator.
    pub(crate) in_dlq: i64,
    /// The final states that services answered, to whoever waited, cancelled it, or asked at the end.
    pub(crate) answers: BTreeSet<String>,
}

/// A request that was answered with 201.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// A step, as it is stored.
#[derive(Debug, Clone, Default, FromRow)]
pub(crate) struct Step {
    pub(crate) task: Uuid,
    pub(crate) name: String,
    pub(crate) sum: Option<String>,
    /// The attempt that its result says it comes from.
    pub(crate) attempt: Option<i32>,
    #[sqlx(json)]
    pub(crate) parents: BTreeSet<String>,
    /// In order.
    #[sqlx(skip)]
    pub(crate) transitions: Vec<Transition>,
}

/// A recorded state of a step.
#[derive(Debug, Clone, Default, FromRow)]
pub(crate) struct Transition {
    pub(crate) step: Uuid,
    pub(crate) state: String,
    pub(crate) attempt: Option<i32>,
    pub(crate) reason: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) worker: Option<Uuid>,
    #[sqlx(try_from = "i64")]
    pub(crate) at: u64,
}

impl Transition {
    /// Returns the operator's action that made it.
    pub(crate) fn action(&self) -> Option<&str> {
        let reason = self.reason.as_deref();
        reason.filter(|reason| ACTIONS.contains(reason))
    }
}

/// The actions of operators, which are also the reasons of transitions.
pub(crate) const ACTIONS: [&str; 3] = ["reset_for_retry", "resolve_manually", "complete_manually"];

/// An operator's action on a step that was requested.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Action {
    pub(crate) step: Uuid,
    pub(crate) name: &'static str,
    /// It was answered with 200.
    pub(crate) is_done: bool,
}

/// A run of a handler: an attempt, as it noted itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    pub(crate) step: Uuid,
    pub(crate) attempt: i32,
    pub(crate) process: usize,
    pub(crate) marker: u32,
    pub(crate) sum: String,
    /// The attempt that saved the checkpoint which this one read.
    pub(crate) checkpoint: Option<i32>,
    /// Its own checkpoint was acknowledged.
    pub(crate) saved: bool,
    pub(crate) start: u64,
    /// Nothing if the process ended before.
    pub(crate) end: Option<u64>,
}

/// A document of a template, current from some moment between `start` and `end`.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) shape: String,
    pub(crate) marker: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) tasks: BTreeMap<Uuid, Task>,
    pub(crate) steps: BTreeMap<Uuid, Step>,
    pub(crate) runs: Vec<Run>,
    /// Steps and attempts.
    pub(crate) effects: Vec<(Uuid, i32)>,
    pub(crate) actions: Vec<Action>,
    /// In the order in which they were registered.
    pub(crate) versions: Vec<Version>,
    /// The members of processes, by number.
    pub(crate) processes: Vec<usize>,
    /// The moments at which processes ended, by number.
    pub(crate) ends: HashMap<usize, u64>,
    pub(crate) faults: Vec<Happened>,
    pub(crate) refusals: Vec<Refusal>,
    /// Late results that workers said were refused.
    pub(crate) refused: usize,
}

/// A request that was not carried out.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: String,
    /// The service that was asked.
    pub(crate) member: usize,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl History {
    /// Notes that a service answered that a task has ended.
    pub(crate) fn answered(&mut self, task: Uuid, state: &str) {
        let task = self.tasks.entry(task).or_default();
        task.answers.insert(state.to_owned());
    }
}

/// Id, template, seed, whether it has ended, states, and entries of the DLQ.
type TaskRow = (Uuid, String, Option<i64>, bool, Vec<String>, i64);

#[derive(FromRow)]
struct StepRow {
    id: Uuid,
    #[sqlx(flatten)]
    step: Step,
}

/// Adds all that PostgreSQL knows.
pub(crate) async fn read(
    history: &mut History,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let ahead: i64 = sqlx::query_scalar(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000 - $1",
    )
    .bind(clock::now().cast_signed())
    .fetch_one(&mut *connection)
    .await?;
    let tasks: Vec<TaskRow> = sqlx::query_as(
        "SELECT t.task_uuid, n.name::text, (t.context ->> 'seed')::bigint, t.ended_at IS NOT NULL,
                ARRAY(SELECT x.to_state::text FROM tasker.task_transitions x
                      WHERE x.task_uuid = t.task_uuid ORDER BY x.sort_key),
                (SELECT count(*) FROM tasker.tasks_dlq d
                 WHERE d.task_uuid = t.task_uuid AND d.resolution_status = 'pending')
         FROM tasker.tasks t JOIN tasker.named_tasks n USING (named_task_uuid)",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (id, shape, seed, is_ended, states, in_dlq) in tasks {
        let task = history.tasks.entry(id).or_default();
        task.shape = shape;
        task.seed = seed.unwrap_or_default().cast_unsigned();
        task.is_ended = is_ended;
        task.states = states;
        task.in_dlq = in_dlq;
    }
    let steps: Vec<StepRow> = sqlx::query_as(
        "SELECT s.workflow_step_uuid AS id, s.task_uuid AS task, n.name::text,
                s.results ->> 'sum' AS sum, (s.results ->> 'attempt')::int AS attempt,
                to_jsonb(ARRAY(
                    SELECT pn.name::text FROM tasker.workflow_step_edges e
                    JOIN tasker.workflow_steps p ON p.workflow_step_uuid = e.from_step_uuid
                    JOIN tasker.named_steps pn ON pn.named_step_uuid = p.named_step_uuid
                    WHERE e.to_step_uuid = s.workflow_step_uuid)) AS parents
         FROM tasker.workflow_steps s JOIN tasker.named_steps n USING (named_step_uuid)",
    )
    .fetch_all(&mut *connection)
    .await?;
    history.steps = steps.into_iter().map(|row| (row.id, row.step)).collect();
    let transitions: Vec<Transition> = sqlx::query_as(
        "SELECT workflow_step_uuid AS step, to_state::text AS state,
                (metadata ->> 'attempt')::int AS attempt, metadata ->> 'reason' AS reason,
                metadata -> 'error' ->> 'type' AS error,
                (metadata ->> 'worker_uuid')::uuid AS worker,
                (extract(epoch FROM created_at) * 1000000)::bigint * 1000 - $1 AS at
         FROM tasker.workflow_step_transitions ORDER BY workflow_step_uuid, sort_key",
    )
    .bind(ahead)
    .fetch_all(&mut *connection)
    .await?;
    for transition in transitions {
        if let Some(step) = history.steps.get_mut(&transition.step) {
            step.transitions.push(transition);
        }
    }
    history.effects = sqlx::query_as("SELECT step_uuid, attempt FROM chaos.effects")
        .fetch_all(connection)
        .await?;
    Ok(())
}

//! The agent: a worker process with one handler for all steps. It judges nothing.
//!
//! It prints `s STEP ATTEMPT NOW` when an attempt starts, and `e STEP ATTEMPT NOW` when its future is
//! dropped, however it ends.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tasker_worker::{Handlers, StepContext, StepError, StepOutcome};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::history::Span;
use super::shapes::{self, Behaviour, CALLABLE};
use crate::clock;

/// The number of the process. A program that has it in its environment is such a worker.
pub(crate) const PROCESS: &str = "CHAOS_STEPS_PROCESS";
/// The URL of the database, without a proxy: the handlers' notes do not depend on the links.
pub(super) const NOTES: &str = "CHAOS_STEPS_NOTES";

/// The duration of a quick handler, in milliseconds.
const QUICK_MS: std::ops::Range<u64> = 0..30;
/// The duration of one that takes long, in milliseconds. Less than the timeout of steps.
const LONG_MS: std::ops::Range<u64> = 300..1500;
/// The duration of one that takes longer than the lease, in milliseconds.
const OUTLASTING_MS: std::ops::Range<u64> = 6000..8000;
/// The pause between a result in a handler's own transaction and its commit, in milliseconds.
const COMMIT_MS: std::ops::Range<u64> = 0..300;
const ACQUIRE_LIMIT: Duration = Duration::from_secs(3);

pub(crate) fn run(process: &str) -> ExitCode {
    let Ok(process) = process.parse::<i32>() else {
        return ExitCode::FAILURE;
    };
    let handler = move |step: StepContext| handle(process, step);
    tasker_worker::run(Handlers::new().function(CALLABLE, handler))
}

/// An attempt that runs in this process.
struct Running {
    step: Uuid,
    attempt: i32,
}

impl Running {
    fn start(step: &StepContext) -> Self {
        let running = Self {
            step: step.step_uuid(),
            attempt: step.attempt(),
        };
        println!("s {} {} {}", running.step, running.attempt, clock::now());
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        println!("e {} {} {}", self.step, self.attempt, clock::now());
    }
}

async fn handle(process: i32, step: StepContext) -> Result<StepOutcome, StepError> {
    let _running = Running::start(&step);
    let marker: u32 = step.config("marker")?;
    let seed: u64 = step.input("seed")?;
    let mut inputs = BTreeMap::new();
    for name in step.dependencies() {
        let result: Value = step.dependency(name)?;
        let sum = result["sum"].as_str().unwrap_or_default();
        inputs.insert(name.to_owned(), sum.to_owned());
    }
    let cursor = &step.inputs::<Value>()?["cursor"];
    let sum = shapes::sum(step.name(), marker, seed, cursor, &inputs);
    note(process, &step, marker, &sum)
        .await
        .map_err(|error| error.with_type("NotNoted"))?;
    let mut result = shapes::result(step.name(), seed);
    result["sum"] = json!(sum);
    result["attempt"] = json!(step.attempt());
    let outcome = StepOutcome::from(result);
    let behaviour = shapes::behaviour(seed, step.name(), step.attempt());
    match behaviour {
        Behaviour::Quick => pause(QUICK_MS).await,
        Behaviour::Long => pause(LONG_MS).await,
        Behaviour::Outlasts => pause(OUTLASTING_MS).await,
        Behaviour::Commits | Behaviour::RollsBack => {
            return commit(&step, outcome, behaviour == Behaviour::Commits).await;
        }
        Behaviour::Fails => return Err(StepError::retryable("at random").with_type("ChaosFailure")),
        Behaviour::FailsForGood => {
            return Err(StepError::permanent("at random").with_type("ChaosPermanent"));
        }
        Behaviour::Panics => panic!("at random"),
        Behaviour::Hangs => std::future::pending().await,
    }
    Ok(outcome)
}

async fn pause(milliseconds: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rand::random_range(milliseconds))).await;
}

/// Notes that an attempt began, and the checkpoint that it read. Saves one of its own at times.
async fn note(process: i32, step: &StepContext, marker: u32, sum: &str) -> Result<(), StepError> {
    let notes = pool(NOTES).await?;
    sqlx::query(
        "INSERT INTO chaos.runs (task_uuid, step_uuid, step, attempt, process, marker, sum, checkpoint)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(step.task().task_uuid)
    .bind(step.step_uuid())
    .bind(step.name())
    .bind(step.attempt())
    .bind(process)
    .bind(i64::from(marker))
    .bind(sum)
    .bind(step.checkpoint::<i32>()?)
    .execute(notes)
    .await?;
    if shapes::saves(step.input("seed")?, step.name(), step.attempt()) {
        step.save_checkpoint(step.attempt()).await?;
        sqlx::query("UPDATE chaos.runs SET saved = true WHERE step_uuid = $1 AND attempt = $2")
            .bind(step.step_uuid())
            .bind(step.attempt())
            .execute(notes)
            .await?;
    }
    Ok(())
}

/// Commits an effect and the result of the step together, or neither.
async fn commit(
    step: &StepContext,
    outcome: StepOutcome,
    commits: bool,
) -> Result<StepOutcome, StepError> {
    let mut transaction = pool("DATABASE_URL").await?.begin().await?;
    sqlx::query("INSERT INTO chaos.effects (step_uuid, attempt) VALUES ($1, $2)")
        .bind(step.step_uuid())
        .bind(step.attempt())
        .execute(&mut *transaction)
        .await?;
    let outcome = step.complete_in(&mut transaction, outcome).await?;
    pause(COMMIT_MS).await;
    if commits {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(outcome)
}

/// Returns the handlers' own pool for the database that this variable names.
async fn pool(variable: &'static str) -> Result<&'static PgPool, sqlx::Error> {
    static NOTING: OnceCell<PgPool> = OnceCell::const_new();
    static COMMITTING: OnceCell<PgPool> = OnceCell::const_new();
    let pool = if variable == NOTES {
        &NOTING
    } else {
        &COMMITTING
    };
    pool.get_or_try_init(async || {
        let url =
            std::env::var(variable).map_err(|error| sqlx::Error::Configuration(error.into()))?;
        PgPoolOptions::new()
            .max_connections(10)
            .acquire_timeout(ACQUIRE_LIMIT)
            .connect_lazy(&url)
    })
    .await
}

/// Reads the output of an agent. Ignores lines of its log.
pub(super) fn spans(process: usize, output: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind @ ("s" | "e"), step, attempt, moment] = words[..] else {
            continue;
        };
        let (Ok(step), Ok(attempt), Ok(moment)) =
            (step.parse::<Uuid>(), attempt.parse(), moment.parse())
        else {
            continue;
        };
        if kind == "s" {
            spans.push(Span {
                step,
                attempt,
                process,
                start: moment,
                end: None,
            });
        } else if let Some(span) = spans
            .iter_mut()
            .rfind(|span| span.step == step && span.attempt == attempt)
        {
            span.end = Some(moment);
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::spans;

    #[test]
    fn an_attempt_without_an_end_is_kept() {
        let step = "01939f00-0000-7000-8000-000000000001";
        let output = format!("s {step} 1 10\nWARN e\ne {step} 1 20\ns {step} 2 30\ns {step} 3");
        let spans = spans(4, &output);
        let times: Vec<_> = spans
            .iter()
            .map(|span| (span.attempt, span.start, span.end))
            .collect();
        assert_eq!(times, [(1, 10, Some(20)), (2, 30, None)]);
    }
}

//! The agent: a worker process with one handler for all steps. It judges nothing.
//!
//! It prints `s STEP ATTEMPT NOW MARKER SUM CHECKPOINT` before an attempt does anything, with the attempt
//! that saved the checkpoint or `0`; `c STEP ATTEMPT` when a checkpoint of its own is acknowledged; and
//! `e STEP ATTEMPT NOW` when its future is dropped, however it ends.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tasker_worker::{Handlers, StepContext, StepError, StepOutcome};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::history::Run;
use super::shapes::{self, Behaviour, CALLABLE};
use crate::clock;

/// The number of the process. A program that has it in its environment is such a worker.
pub(crate) const PROCESS: &str = "CHAOS_STEPS_PROCESS";

/// The duration of a quick handler, in milliseconds.
const QUICK_MS: std::ops::Range<u64> = 0..30;
/// The duration of one that takes long, in milliseconds. Less than the timeout of steps.
const LONG_MS: std::ops::Range<u64> = 300..1500;
/// The duration of one that takes longer than the lease, in milliseconds.
const OUTLASTING_MS: std::ops::Range<u64> = 6000..8000;
/// The pause between a result in a handler's own transaction and its commit, in milliseconds.
const COMMIT_MS: std::ops::Range<u64> = 0..300;
const ACQUIRE_LIMIT: Duration = Duration::from_secs(3);

pub(crate) fn run() -> ExitCode {
    tasker_worker::run(Handlers::new().function(CALLABLE, handle))
}

/// An attempt that runs in this process.
struct Running {
    step: Uuid,
    attempt: i32,
}

impl Running {
    fn start(step: &StepContext, marker: u32, sum: &str) -> Result<Self, StepError> {
        let (now, step_uuid, attempt) = (clock::now(), step.step_uuid(), step.attempt());
        let checkpoint = step.checkpoint::<i32>()?.unwrap_or_default();
        println!("s {step_uuid} {attempt} {now} {marker} {sum} {checkpoint}");
        Ok(Self {
            step: step_uuid,
            attempt,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        println!("e {} {} {}", self.step, self.attempt, clock::now());
    }
}

async fn handle(step: StepContext) -> Result<StepOutcome, StepError> {
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
    let _running = Running::start(&step, marker, &sum)?;
    if shapes::saves(seed, step.name(), step.attempt()) {
        let saved = step.save_checkpoint(step.attempt()).await;
        saved.map_err(|error| error.with_type("NotSaved"))?;
        println!("c {} {}", step.step_uuid(), step.attempt());
    }
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

/// Commits an effect and the result of the step together, or neither.
async fn commit(
    step: &StepContext,
    outcome: StepOutcome,
    commits: bool,
) -> Result<StepOutcome, StepError> {
    let mut transaction = pool().await?.begin().await?;
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

/// Returns the handlers' own pool.
async fn pool() -> Result<&'static PgPool, sqlx::Error> {
    static POOL: OnceCell<PgPool> = OnceCell::const_new();
    POOL.get_or_try_init(async || {
        let url = std::env::var("DATABASE_URL");
        let url = url.map_err(|error| sqlx::Error::Configuration(error.into()))?;
        PgPoolOptions::new()
            .max_connections(10)
            .acquire_timeout(ACQUIRE_LIMIT)
            .connect_lazy(&url)
    })
    .await
}

/// Reads the output of an agent. Ignores lines of its log.
pub(super) fn runs(process: usize, output: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        note(&mut runs, process, &words);
    }
    runs
}

fn note(runs: &mut Vec<Run>, process: usize, words: &[&str]) -> Option<()> {
    let [kind @ ("s" | "c" | "e"), step, attempt, ref rest @ ..] = *words else {
        return None;
    };
    let (step, attempt) = (step.parse().ok()?, attempt.parse().ok()?);
    if let ("s", [now, marker, sum, checkpoint]) = (kind, rest) {
        let checkpoint: i32 = checkpoint.parse().ok()?;
        runs.push(Run {
            step,
            attempt,
            process,
            marker: marker.parse().ok()?,
            sum: (*sum).to_owned(),
            checkpoint: (checkpoint > 0).then_some(checkpoint),
            saved: false,
            start: now.parse().ok()?,
            end: None,
        });
        return Some(());
    }
    let is_it = |run: &&mut Run| run.step == step && run.attempt == attempt;
    let run = runs.iter_mut().rfind(is_it)?;
    match rest {
        [] if kind == "c" => run.saved = true,
        [now] if kind == "e" => run.end = now.parse().ok(),
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn an_attempt_without_an_end_is_kept() {
        let step = "01939f00-0000-7000-8000-000000000001";
        let output = format!(
            "s {step} 1 10 7 sum 0\nWARN e\nc {step} 1\ne {step} 1 20\n\
             s {step} 2 30 7 sum 1\ns {step} 3 40 7"
        );
        let runs = runs(4, &output);
        let found: Vec<_> = runs
            .iter()
            .map(|it| (it.attempt, it.start, it.end, it.checkpoint, it.saved))
            .collect();
        let expected = [(1, 10, Some(20), None, true), (2, 30, None, Some(1), false)];
        assert_eq!(found, expected);
    }
}

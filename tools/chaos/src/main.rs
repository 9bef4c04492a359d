//! Faults against Tasker, in three modes that share one list of faults ([`fault`]) and one world of
//! servers and proxies ([`world`]).
//!
//! - `chaos`: random faults against real processes, and an independent [`judge`];
//!   with `--steps`, they run tasks, and [`steps::judge`] judges these;
//! - `faults`: a table, one row a fault, of the delays that requests notice;
//! - `soak`: tasks under random faults for a long time, and the levels of memory, threads and
//!   connections.
//!
//! `cargo xtask` builds this program and runs it. It starts its own servers.

#![expect(clippy::print_stdout, reason = "a program for the person who runs it")]

mod chaos;
mod clock;
mod error;
mod fault;
mod faults;
mod judge;
mod processes;
mod report;
mod run;
mod steps;
mod subject;
mod templates;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tasker_test_support::causes;
use tokio::runtime::Builder;

use crate::error::Result;
use crate::subject::Subjects;

/// Lets servers and processes fail, and judges what Tasker does.
#[derive(Debug, Parser)]
#[command(name = "tasker-chaos", version)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Run real processes under random faults and judge every read.
    Chaos(chaos::Options),
    /// Measure the delays that requests notice under each fault of Redis.
    Faults(faults::Options),
    /// Run tasks under random faults for a long time and compare the levels of resources.
    Soak(Course),
}

/// The length of a run, and its seed.
#[derive(Debug, Clone, Copy, Args)]
struct Course {
    /// The length of the run, in minutes. Default: one of chaos, sixty of soak.
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: Option<u64>,
    /// The length of the run, in seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Decides which faults happen and which templates are read and written. Default: random.
    #[arg(long)]
    seed: Option<u64>,
}

impl Course {
    /// Returns the length of the run, by default so many minutes.
    fn length(&self, minutes: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(60 * self.minutes.unwrap_or(minutes)))
    }

    /// Returns the seed, a random one if none was given.
    fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(rand::random)
    }
}

fn main() -> ExitCode {
    let outcome = if let Ok(process) = std::env::var(chaos::agent::PROCESS) {
        in_runtime(chaos::agent::run(&process)).map(|()| true)
    } else if std::env::var_os(steps::agent::PROCESS).is_some() {
        return steps::agent::run();
    } else {
        match Cli::parse().mode {
            Mode::Chaos(chaos::Options {
                course,
                steps: true,
                ..
            }) => in_runtime(steps::run(course.length(1), course.seed())),
            Mode::Chaos(options) => in_runtime(chaos::run(options)),
            Mode::Faults(options) => {
                in_process(async |subjects| faults::run(subjects, &options).await)
            }
            Mode::Soak(course) => in_runtime(steps::soak(course.length(60), course.seed())),
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn in_runtime<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_multi_thread().enable_all().build();
    runtime?.block_on(work)
}

/// Gives registries a runtime to themselves, apart from the control, and from servers and proxies.
fn in_process(work: impl AsyncFnOnce(&Subjects) -> Result<bool>) -> Result<bool> {
    let runtime = |threads| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads).enable_all().build()
    };
    let (subjects, control) = (runtime(2)?, runtime(1)?);
    let handles = (subjects.handle().clone(), control.handle().clone());
    in_runtime(async { work(&Subjects::create(handles.0, handles.1).await?).await })
}

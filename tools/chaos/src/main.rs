//! What requests notice while Redis fails in every way it can.
//!
//! `cargo xtask faults` and `cargo xtask soak` build this and run it with a PostgreSQL; each row
//! starts a Redis of its own. What is measured, real registries with real connections, has a
//! runtime to itself; servers, proxies and the control have others. [`figures`] says what is
//! measured, [`verdict`] what has to hold.

#![expect(
    clippy::print_stdout,
    reason = "this program talks to the person who runs it"
)]

mod control;
mod error;
mod fault;
mod figures;
mod levels;
mod load;
mod observer;
mod registration;
mod row;
mod soak;
mod table;
mod templates;
mod verdict;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tasker_test_support::causes;
use tokio::runtime::{Builder, Handle};

use crate::error::FaultsError;
use crate::observer::Observer;
use crate::table::Plan;
use crate::world::World;

/// Lets Redis fail, and measures what requests notice.
#[derive(Debug, Parser)]
#[command(name = "tasker-chaos", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// One fault after the other, with the local tier on and off.
    Table {
        /// Only these rows.
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        only: Vec<String>,
        /// How long each fault lasts. Default: 10, with `--quick` 1.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: Option<u64>,
        /// Shorter rows.
        #[arg(long)]
        quick: bool,
    },
    /// Faults at random.
    Soak {
        /// For how long.
        #[arg(long)]
        minutes: u64,
        /// Which faults come when.
        #[arg(long)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    match start(Cli::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// Runs `task`; says whether all bars are met.
fn start(task: Task) -> Result<bool, FaultsError> {
    // The services count into a recorder, so what is measured here does.
    let observer = Observer::install();
    let subject = Builder::new_multi_thread()
        .enable_all()
        .thread_name("subject")
        .build()
        .map_err(FaultsError::Runtime)?;
    let stage = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(FaultsError::Runtime)?;
    stage.block_on(run(task, subject.handle().clone(), observer))
}

async fn run(task: Task, subject: Handle, observer: Observer) -> Result<bool, FaultsError> {
    let world = World::create(subject, observer).await?;
    match task {
        Task::Table {
            only,
            seconds,
            quick,
        } => table::run(&world, &Plan::new(only, seconds, quick)).await,
        Task::Soak { minutes, seed } => soak::run(&world, Duration::from_mins(minutes), seed).await,
    }
}

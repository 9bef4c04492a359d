//! Development tasks: `cargo xtask demo`, `test`, `bench`, `chaos`, `faults`, `soak`
//! and `generate`.
//!
//! Each gets the PostgreSQL and the Redis that it needs, and ends what it started. This program
//! knows the services by their HTTP interface only and depends on none of their crates, so it
//! builds while they do not.

#![expect(
    clippy::print_stdout,
    reason = "this program talks to the person who runs it"
)]

mod bench;
mod cargo;
mod chaos;
mod demo;
mod error;
mod faults;
mod generate;
mod install;
mod servers;
mod signals;
mod soak;
mod test;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tasker_test_support::causes;

use crate::error::XtaskError;

/// Development tasks of Tasker.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run a worker and an orchestration service, show what the cache does, and stay up.
    Demo {
        #[command(flatten)]
        demo: demo::Options,
        #[command(flatten)]
        install: InstallOption,
    },
    /// Run all tests of the workspace with the PostgreSQL and the Redis that they need.
    Test {
        #[command(flatten)]
        install: InstallOption,
        /// Further arguments for `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run real processes on a real PostgreSQL and Redis while everything fails at random, and judge
    /// whether anybody was served a template older than the bound.
    Chaos {
        #[command(flatten)]
        chaos: chaos::Options,
        #[command(flatten)]
        install: InstallOption,
    },
    /// Let Redis fail in every way it can, and measure what requests notice.
    Faults {
        #[command(flatten)]
        faults: faults::Options,
        #[command(flatten)]
        install: InstallOption,
    },
    /// Let Redis fail at random for a long time, and find out what is left of it.
    Soak {
        #[command(flatten)]
        soak: soak::Options,
        #[command(flatten)]
        install: InstallOption,
    },
    /// Measure what resolving, booting and invalidating cost, beside their yardsticks.
    Bench {
        #[command(flatten)]
        bench: bench::Options,
        #[command(flatten)]
        install: InstallOption,
    },
    /// Renew the files that are generated: the query cache, OpenAPI documents, the config reference.
    Generate {
        /// Change nothing; fail if a committed file is not what would be generated.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        install: InstallOption,
    },
}

#[derive(Debug, Clone, Copy, Args)]
struct InstallOption {
    /// Do not install missing server programs, even where that is possible (root on Debian or
    /// Ubuntu).
    #[arg(long)]
    no_install: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = tokio::select! {
        // A task that waits for the signal itself ends well; look at it first.
        biased;
        outcome = run(cli.task) => outcome,
        () = signals::interrupted() => Err(XtaskError::Interrupted),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {}", causes(&error));
        error.exit_code()
    })
}

async fn run(task: Task) -> Result<ExitCode, XtaskError> {
    match task {
        Task::Demo { demo, install } => demo::run(demo, !install.no_install).await?,
        Task::Test { install, arguments } => test::run(&arguments, !install.no_install).await?,
        Task::Chaos { chaos, install } => return chaos::run(chaos, !install.no_install).await,
        Task::Faults { faults, install } => {
            return faults::run(&faults, !install.no_install).await;
        }
        Task::Soak { soak, install } => return soak::run(&soak, !install.no_install).await,
        Task::Bench { bench, install } => bench::run(&bench, !install.no_install).await?,
        Task::Generate { check, install } => generate::run(check, !install.no_install).await?,
    }
    Ok(ExitCode::SUCCESS)
}

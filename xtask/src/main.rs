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

mod cargo;
mod chaos;
mod error;
mod faults;
mod generate;
mod launch;
mod servers;
mod soak;

use std::ffi::OsString;
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
    /// Run a worker and two orchestration services, and show what the cache does.
    #[command(disable_help_flag = true)]
    Demo(Arguments),
    /// Run all tests of the workspace. Further arguments are those of `cargo test`.
    #[command(disable_help_flag = true)]
    Test(Arguments),
    /// Measure what resolving, booting and invalidating cost, beside their yardsticks.
    #[command(disable_help_flag = true)]
    Bench(Arguments),
    /// Run real processes on a real PostgreSQL and Redis while everything fails at random, and judge
    /// whether anybody was served a template older than the bound.
    Chaos(chaos::Options),
    /// Let Redis fail in every way it can, and measure what requests notice.
    Faults(faults::Options),
    /// Let Redis fail at random for a long time, and find out what is left of it.
    Soak(soak::Options),
    /// Renew the files that are generated: the query cache, OpenAPI documents, the config reference.
    Generate {
        /// Change nothing; fail if a committed file is not what would be generated.
        #[arg(long)]
        check: bool,
    },
}

/// Arguments of the program that does the work.
#[derive(Debug, Args)]
struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli.task).await.unwrap_or_else(|error| {
        eprintln!("error: {}", causes(&error));
        error.exit_code()
    })
}

async fn run(task: Task) -> Result<ExitCode, XtaskError> {
    match task {
        Task::Demo(Arguments { arguments }) => {
            let packages = ["tasker-demo", "tasker-worker", "tasker-orchestration"];
            return Err(launch::become_tool("dev", &packages, arguments));
        }
        Task::Test(Arguments { arguments }) => {
            let mut tests = launch::with_servers();
            tests.args([
                "cargo",
                "test",
                "--workspace",
                "--all-features",
                "--no-fail-fast",
            ]);
            tests.args(arguments);
            return Err(launch::become_command(tests));
        }
        Task::Bench(Arguments { arguments }) => {
            return Err(launch::become_tool(
                "bench-run",
                &["tasker-bench"],
                arguments,
            ));
        }
        Task::Chaos(options) => return chaos::run(options).await,
        Task::Faults(options) => return faults::run(&options).await,
        Task::Soak(options) => return soak::run(&options).await,
        Task::Generate { check } => generate::run(check)?,
    }
    Ok(ExitCode::SUCCESS)
}

//! The program `tasker`: checks, explains and compares templates, and operates tasks.
//!
//! Each command is a file. [`cli`] lists them, [`error`] has the exit codes, and [`output`] prints.
//! The library that checks templates here is the one that registers them.

mod cache;
mod cli;
mod config;
mod database;
mod error;
mod migrate;
mod output;
mod progress;
mod queue;
mod service;
mod step;
mod style;
mod task;
mod template;
mod workers;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::error::{CliError, exit};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // A failed write is ignored because the output may be a closed pipe.
            drop(answer.print());
            let code = if answer.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            };
            return ExitCode::from(code);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => Err(CliError::Runtime(error)),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}

//! The program `tasker`: checks, explains and compares templates, and operates tasks.
//!
//! Each command is a file. [`cli`] lists them, [`error`] has the exit codes, and [`output`] prints.
//! The library that checks templates here is the one that registers them.

mod answer;
mod cache;
mod cli;
mod config;
mod database;
mod error;
mod http;
mod migrate;
mod output;
mod progress;
mod queue;
mod service;
mod step;
mod style;
mod task;
mod template;
mod warnings;
mod workers;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::error::{CliError, exit};

/// Prints help, or the error in the command line. Returns the exit code.
fn print(answer: &clap::Error) -> u8 {
    let printed = answer.print().and_then(|()| std::io::stdout().flush());
    if answer.use_stderr() {
        // There is nobody left to inform.
        return exit::USAGE;
    }
    let Err(error) = output::written_or_unread(printed) else {
        return exit::OK;
    };
    error.print();
    error.exit_code()
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return ExitCode::from(print(&answer)),
    };
    warnings::print();
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

//! The command line.

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::cache::CacheCommand;
use crate::config::ConfigCommand;
use crate::error::{CliError, exit};
use crate::migrate::Migrate;
use crate::output;
use crate::queue::Queue;
use crate::step::StepCommand;
use crate::task::TaskCommand;
use crate::template::TemplateCommand;
use crate::workers::Workers;

const AFTER_HELP: &str = "\
Examples:
  tasker template validate config/tasks --deny-warnings
  tasker template explain config/tasks/storefront/checkout.yaml --environment test
  tasker task run storefront/checkout --context @basket.json --wait
  tasker template graph checkout.yaml --format svg > checkout.svg

TASKER_TOKEN is sent to services as a bearer token, for a proxy with authentication in front of them.

Exit codes:
  0   success
  1   the answer is no: problems, differences, a request that was refused
  64  wrong command line
  66  an input file is missing, cannot be read, or is not a template
  69  the service or the database cannot be reached
  70  internal error
  73  an output file cannot be written
  78  wrong configuration
  130 a signal ended the wait for a task";

/// Checks, explains and compares templates, and operates tasks.
#[derive(Debug, Parser)]
#[command(name = "tasker", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check, explain, draw, compare and register templates.
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Check and explain the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Bring the database's schema up to date.
    Migrate(Migrate),
    /// Create, list, watch and cancel tasks.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Retry, resolve and complete steps.
    #[command(subcommand)]
    Step(StepCommand),
    /// Show the steps that wait and run, by callable.
    Queue(Queue),
    /// List workers.
    Workers(Workers),
    /// Inspect and clear caches of templates.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Print a script that completes commands in a shell.
    Completions(Completions),
}

#[derive(Debug, Args)]
struct Completions {
    /// The shell.
    shell: Shell,
}

impl Cli {
    /// Runs the command and returns its exit code.
    pub(crate) async fn run(self) -> Result<u8, CliError> {
        match self.command {
            Command::Template(command) => command.run().await,
            Command::Config(command) => command.run(),
            Command::Migrate(command) => command.run().await,
            Command::Task(command) => command.run().await,
            Command::Step(command) => command.run().await,
            Command::Queue(command) => command.run().await,
            Command::Workers(command) => command.run().await,
            Command::Cache(command) => command.run().await,
            Command::Completions(completions) => completions.run(),
        }
    }
}

impl Completions {
    fn run(&self) -> Result<u8, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tasker", &mut script);
        output::text(&String::from_utf8_lossy(&script))?;
        Ok(exit::OK)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

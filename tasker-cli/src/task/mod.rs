//! `tasker task`.

mod cancel;
mod list;
mod looks;
mod run;
mod show;
pub(crate) mod steps;
mod watch;

use clap::Subcommand;

use crate::error::CliError;

pub(crate) use run::read_json;

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Create a task, and wait for its end with --wait.
    Run(run::Run),
    /// List tasks, the newest first.
    List(list::List),
    /// Show a task with its steps.
    Show(show::Show),
    /// Draw a task's steps with their states until it ends.
    Watch(watch::Watch),
    /// Cancel a task.
    Cancel(cancel::Cancel),
}

impl TaskCommand {
    pub(crate) async fn run(self) -> Result<u8, CliError> {
        match self {
            Self::Run(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Show(command) => command.run().await,
            Self::Watch(command) => command.run().await,
            Self::Cancel(command) => command.run().await,
        }
    }
}

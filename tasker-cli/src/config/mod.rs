//! `tasker config`.

mod check;
mod dump;
mod explain;

use clap::Subcommand;

use crate::error::CliError;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration as a service does at its start.
    Check(check::Check),
    /// Show the value, the sources and the meaning of a key, or of all keys of a section.
    Explain(explain::Explain),
    /// Print the configuration in force, without secrets.
    Dump(dump::Dump),
}

impl ConfigCommand {
    pub(crate) fn run(&self) -> Result<u8, CliError> {
        match self {
            Self::Check(command) => command.run(),
            Self::Explain(command) => command.run(),
            Self::Dump(command) => command.run(),
        }
    }
}

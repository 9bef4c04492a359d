//! `tasker template`.

mod changes;
mod diff;
mod explain;
mod file;
mod graph;
mod history;
mod list;
mod name;
mod new;
#[cfg(test)]
mod reference;
mod register;
mod report;
mod retire;
mod retry_words;
mod schema;
mod validate;

use clap::Subcommand;

use crate::error::CliError;

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// Check template files as a registration does, without a database.
    #[command(visible_alias = "lint")]
    Validate(validate::Validate),
    /// Print the JSON Schema of templates, for editors.
    Schema(schema::Schema),
    /// Show the settings, retries and overrides that steps run with.
    Explain(explain::Explain),
    /// Draw the steps and their edges.
    Graph(graph::Graph),
    /// Compare two templates by meaning.
    Diff(diff::Diff),
    /// Register template files.
    Register(register::Register),
    /// List registered templates.
    List(list::List),
    /// Show which documents a template had, since when and from where.
    History(history::History),
    /// Withdraw a template from new tasks.
    Retire(retire::Retire),
    /// Write a commented template to begin with.
    New(new::New),
}

impl TemplateCommand {
    pub(crate) async fn run(self) -> Result<u8, CliError> {
        match self {
            Self::Validate(command) => command.run().await,
            Self::Schema(command) => command.run(),
            Self::Explain(command) => command.run(),
            Self::Graph(command) => command.run(),
            Self::Diff(command) => command.run().await,
            Self::Register(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::History(command) => command.run().await,
            Self::Retire(command) => command.run().await,
            Self::New(command) => command.run(),
        }
    }
}

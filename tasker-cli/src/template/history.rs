//! `tasker template history`.

use clap::Args;
use tasker_shared::registry::RegistryError;
use tasker_shared::registry::history::{TemplateChange, template_history};

use super::name::TemplateName;
use crate::database::DatabaseArgs;
use crate::error::{CliError, exit};
use crate::output::{self, Cell, Format, OutputArgs};
use crate::style::{Paint, Style};

/// Arguments of `tasker template history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// NAMESPACE/NAME/VERSION.
    template: TemplateName,
    /// Add the documents; only with --output json.
    #[arg(long)]
    documents: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl History {
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let pool = self.database.connect().await?;
        let TemplateName {
            namespace,
            name,
            version,
        } = &self.template;
        let changes = template_history(&pool, namespace, name, version, self.documents).await?;
        if changes.is_empty() {
            return Err(CliError::Registry(RegistryError::NotFound {
                namespace: namespace.clone(),
                name: name.clone(),
                version: version.clone(),
            }));
        }
        if self.output.output == Format::Json {
            output::json(&changes)?;
            return Ok(exit::OK);
        }
        let rows: Vec<Vec<Cell>> = changes.iter().map(row).collect();
        let heading = ["SINCE", "HASH", "FILE", "PROCESS"];
        output::text(&output::table(Style::of_stdout(), &heading, &rows))?;
        Ok(exit::OK)
    }
}

fn row(change: &TemplateChange) -> Vec<Cell> {
    let since = change
        .changed_at
        .format("%Y-%m-%d %H:%M:%S UTC")
        .to_string();
    vec![
        since.into(),
        match &change.hash {
            Some(hash) => hash.chars().take(12).collect::<String>().into(),
            None => Cell::painted("(none)", Paint::Yellow),
        },
        change.file.as_deref().unwrap_or("-").into(),
        change.process.as_deref().unwrap_or("-").into(),
    ]
}

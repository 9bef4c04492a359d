//! `tasker template list`.

use clap::Args;
use serde_json::{Value, json};
use tasker_shared::registry::TaskHandlerRegistry;

use crate::database::DatabaseArgs;
use crate::error::{CliError, exit};
use crate::output::{self, Cell, Format, OutputArgs};
use crate::style::Style;

/// Arguments of `tasker template list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only templates of this namespace.
    #[arg(long)]
    namespace: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl List {
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let registry = TaskHandlerRegistry::new(self.database.connect().await?);
        let templates = registry.list_templates(self.namespace.as_deref()).await?;
        if self.output.output == Format::Json {
            let templates: Vec<Value> = templates
                .iter()
                .map(|one| {
                    json!({
                        "namespace": one.namespace, "name": one.name, "version": one.version,
                        "description": one.description, "hash": one.hash.to_string(),
                        "registered_at": one.registered_at,
                    })
                })
                .collect();
            output::json(&templates)?;
            return Ok(exit::OK);
        }
        let rows: Vec<Vec<Cell>> = templates
            .into_iter()
            .map(|one| {
                let hash: String = one.hash.to_string().chars().take(12).collect();
                vec![
                    format!("{}/{}/{}", one.namespace, one.name, one.version).into(),
                    hash.into(),
                    one.registered_at
                        .format("%Y-%m-%d %H:%M:%S UTC")
                        .to_string()
                        .into(),
                    one.description.unwrap_or_default().trim().into(),
                ]
            })
            .collect();
        let heading = ["TEMPLATE", "HASH", "REGISTERED", "DESCRIPTION"];
        output::text(&output::table(Style::of_stdout(), &heading, &rows))?;
        Ok(exit::OK)
    }
}

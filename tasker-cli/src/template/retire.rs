//! `tasker template retire`.

use clap::Args;
use serde_json::json;
use tasker_shared::registry::RegistryError;
use tasker_shared::registry::catalog::TemplateCatalog;

use super::name::TemplateName;
use crate::database::DatabaseArgs;
use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};

const AFTER_HELP: &str = "\
New tasks do not find a retired template. Tasks that were created from it keep it. Exit code 1 means
that no such template is registered.";

/// Arguments of `tasker template retire`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Retire {
    /// NAMESPACE/NAME/VERSION.
    template: TemplateName,
    /// End the retirement.
    #[arg(long)]
    undo: bool,
    /// The operator.
    #[arg(long, env = "USER", default_value = "unknown", value_name = "NAME")]
    by: String,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Retire {
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let catalog = TemplateCatalog::new(self.database.connect().await?);
        let TemplateName {
            namespace,
            name,
            version,
        } = &self.template;
        let found = if self.undo {
            let restored = catalog.restore(namespace, name, version).await?;
            restored.then_some((None, None))
        } else {
            let retired = catalog.retire(namespace, name, version, &self.by).await?;
            retired.map(|retired| (retired.retired_at, retired.retired_by))
        };
        let Some((retired_at, retired_by)) = found else {
            return Err(CliError::Registry(RegistryError::NotFound {
                namespace: namespace.clone(),
                name: name.clone(),
                version: version.clone(),
            }));
        };
        match self.output.output {
            Format::Json => output::json(&json!({
                "namespace": namespace, "name": name, "version": version,
                "retired_at": retired_at, "retired_by": retired_by,
            }))?,
            Format::Table => {
                let word = if self.undo { "restored" } else { "retired" };
                output::text(&format!("{namespace}/{name}/{version} {word}\n"))?;
            }
        }
        Ok(exit::OK)
    }
}

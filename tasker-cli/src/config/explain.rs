//! `tasker config explain`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};
use tasker_shared::config::{ConfigLoader, ExplainedKey, nearest_key};

use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};
use crate::style::{Paint, Style};

const AFTER_HELP: &str = "\
Examples:
  tasker config explain common.cache.enabled
  tasker config explain worker.execution";

/// Arguments of `tasker config explain`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Explain {
    /// A key or a section, as a dotted path.
    key: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl Explain {
    pub(super) fn run(&self) -> Result<u8, CliError> {
        let keys = ConfigLoader::from_process_env().explain(&self.key)?;
        if keys.is_empty() {
            return Err(CliError::UnknownConfigKey {
                key: self.key.clone(),
                nearest: nearest_key(&self.key),
            });
        }
        match self.output.output {
            Format::Json => {
                let keys: Vec<Value> = keys.iter().map(document).collect();
                output::json(&keys)?;
            }
            Format::Table => {
                let style = Style::of_stdout();
                let texts: Vec<String> = keys.iter().map(|key| text(key, style)).collect();
                output::text(&texts.join("\n"))?;
            }
        }
        Ok(exit::OK)
    }
}

fn document(key: &ExplainedKey) -> Value {
    let sources: Vec<String> = key.sources.iter().map(ToString::to_string).collect();
    json!({
        "path": key.path, "value": key.value, "sources": sources, "variable": key.variable,
        "about": key.about,
    })
}

fn text(key: &ExplainedKey, style: Style) -> String {
    let mut text = format!("{} = {}\n", style.paint(Paint::Bold, &key.path), key.value);
    let mut sources = key.sources.iter();
    if let Some(source) = sources.next() {
        let _ = writeln!(text, "  from: {source}");
    }
    for source in sources {
        let _ = writeln!(text, "  instead of: {source}");
    }
    let _ = writeln!(text, "  variable: {}", key.variable);
    let _ = writeln!(text, "  meaning: {}", key.about);
    text
}

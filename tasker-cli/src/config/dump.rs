//! `tasker config dump`.

use std::fmt::Write as _;

use clap::Args;
use tasker_shared::config::ConfigLoader;

use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};
use crate::style::{Paint, Style};

/// Arguments of `tasker config dump`.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    #[command(flatten)]
    output: OutputArgs,
}

impl Dump {
    pub(super) fn run(&self) -> Result<u8, CliError> {
        let loader = ConfigLoader::from_process_env();
        if self.output.output == Format::Json {
            output::json(&loader.load()?)?;
            return Ok(exit::OK);
        }
        let style = Style::of_stdout();
        let mut text = String::new();
        for key in loader.explain("")? {
            let source = key
                .sources
                .first()
                .map_or_else(|| String::from("the built-in default"), ToString::to_string);
            let source = style.paint(Paint::Dim, &format!("# {source}"));
            let _ = writeln!(text, "{} = {}  {source}", key.path, key.value);
        }
        output::text(&text)?;
        Ok(exit::OK)
    }
}

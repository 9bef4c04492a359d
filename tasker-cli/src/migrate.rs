//! `tasker migrate`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;
use tasker_shared::database::migrator;

use crate::database::DatabaseArgs;
use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs, count};
use crate::progress;

const AFTER_HELP: &str = "\
Examples:
  tasker migrate --check    exit code 1 if a migration is missing
  tasker migrate

Services migrate when they start, too. Behind a pooler in transaction mode, common.database.direct_url
must lead to the server.";

/// Arguments of `tasker migrate`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Migrate {
    /// Change nothing; fail if a migration is missing.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Migrate {
    pub(crate) async fn run(self) -> Result<u8, CliError> {
        let pool = self.database.connect().await?;
        let pending = migrator::pending(&pool).await?;
        if !self.check {
            progress::during("migrating", migrator::migrate(&pool)).await?;
        }
        let names: Vec<String> = pending
            .iter()
            .map(|one| format!("{:04} {}", one.version, one.description))
            .collect();
        match self.output.output {
            Format::Json => output::json(&json!({"applied": !self.check, "migrations": names}))?,
            Format::Table => {
                let word = if self.check { "missing" } else { "applied" };
                let mut answer = format!("{} {word}\n", count(names.len(), "migration"));
                for name in &names {
                    let _ = writeln!(answer, "  {name}");
                }
                output::text(&answer)?;
            }
        }
        Ok(if self.check && !names.is_empty() {
            exit::NO
        } else {
            exit::OK
        })
    }
}

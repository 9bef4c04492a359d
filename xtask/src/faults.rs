//! `cargo xtask faults`

use std::process::ExitCode;

use clap::Args;

use crate::cargo::{cargo, succeed, target_folder};
use crate::error::XtaskError;
use crate::servers;

/// Which faults, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these rows; a name that does not exist is answered with those that do.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// How long each fault lasts. Default: 10, with `--quick` 1.
    #[arg(long)]
    seconds: Option<u64>,
    /// Shorter rows, as CI runs them.
    #[arg(long)]
    quick: bool,
}

/// Prints the fault table. Fails if a row misses a bar.
pub(crate) async fn run(options: &Options) -> Result<ExitCode, XtaskError> {
    let mut arguments = vec![String::from("table")];
    if !options.only.is_empty() {
        arguments.extend([String::from("--only"), options.only.join(",")]);
    }
    if let Some(seconds) = options.seconds {
        arguments.extend([String::from("--seconds"), seconds.to_string()]);
    }
    if options.quick {
        arguments.push(String::from("--quick"));
    }
    start(&arguments).await
}

/// Builds `tasker-chaos`, in the profile that this program has, and runs it with a PostgreSQL.
pub(crate) async fn start(arguments: &[String]) -> Result<ExitCode, XtaskError> {
    let mut build = cargo();
    build.args(["build", "--package", "tasker-chaos"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    succeed(build).await?;
    let postgres = servers::postgres().await?;
    let program = target_folder()?.join("tasker-chaos");
    let mut faults = tokio::process::Command::new(&program);
    faults
        .args(arguments)
        .env("DATABASE_URL", postgres.url())
        .kill_on_drop(true);
    succeed(faults).await?;
    Ok(ExitCode::SUCCESS)
}

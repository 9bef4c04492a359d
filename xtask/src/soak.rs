//! `cargo xtask soak`

use std::process::ExitCode;

use clap::Args;

use crate::error::XtaskError;
use crate::faults;

/// For how long, and which faults.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long faults go on, in minutes.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// What decides which faults come. Default: another each time.
    #[arg(long)]
    seed: Option<u64>,
}

/// Lets Redis fail at random. Fails if memory, tasks, connections or file descriptors grow.
pub(crate) async fn run(options: &Options) -> Result<ExitCode, XtaskError> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let arguments = [
        "soak",
        "--minutes",
        &options.minutes.to_string(),
        "--seed",
        &seed.to_string(),
    ]
    .map(str::to_owned);
    faults::start(&arguments).await
}

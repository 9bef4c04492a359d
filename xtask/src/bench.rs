//! `cargo xtask bench`

use std::path::PathBuf;

use clap::Args;

use crate::cargo::{cargo, root, succeed};
use crate::error::XtaskError;
use crate::servers;

/// What to measure and where to put it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Fewer rounds and smaller ones: figures that are good for a look.
    #[arg(long)]
    quick: bool,
    /// Write all rounds of all figures here, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these groups of figures. An unknown one lists them.
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    only: Vec<String>,
}

/// Builds the benchmark with optimisation and runs it with a PostgreSQL and a Redis. The picture
/// of latencies is written to `target/bench-latencies.svg`.
pub(crate) async fn run(options: &Options, may_install: bool) -> Result<(), XtaskError> {
    // Built first: nothing else happens on the machine while it measures.
    let mut build = cargo();
    build.args([
        "build",
        "--profile",
        "bench-run",
        "--package",
        "tasker-bench",
    ]);
    succeed(build).await?;
    let postgres = servers::postgres(may_install).await?;
    let redis = servers::redis(may_install).await?;
    let mut bench = cargo();
    bench
        .args([
            "run",
            "--quiet",
            "--profile",
            "bench-run",
            "--package",
            "tasker-bench",
            "--",
        ])
        .arg("--svg")
        .arg(root().join("target/bench-latencies.svg"))
        .env("DATABASE_URL", postgres.url())
        .env("REDIS_URL", redis.url());
    if options.quick {
        bench.arg("--quick");
    }
    if let Some(path) = &options.json {
        // The benchmark runs in the workspace's root, we where we were called.
        let path = std::path::absolute(path).map_err(XtaskError::file(path))?;
        bench.arg("--json").arg(path);
    }
    if !options.only.is_empty() {
        bench.arg("--only").arg(options.only.join(","));
    }
    succeed(bench).await
}

//! `cargo xtask demo`: both services as real processes, and what the cache does for them.

mod acts;
mod redis_keys;
mod report;
mod sample;
mod scene;
pub(crate) mod service;
mod subject;
mod template_file;

use clap::Args;

use crate::cargo::{cargo, succeed};
use crate::demo::scene::Scene;
use crate::error::XtaskError;
use crate::signals;

/// How to run the demonstration.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    /// End after the demonstration instead of staying up until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Run as if there were no Redis to be had, to see what is lost without it.
    #[arg(long)]
    without_redis: bool,
}

/// Builds the services, sets the scene, plays it, and stays up unless told otherwise.
pub(crate) async fn run(options: Options, may_install: bool) -> Result<(), XtaskError> {
    println!("building the services");
    let mut build = cargo();
    build.args([
        "build",
        "--package",
        "tasker-worker",
        "--package",
        "tasker-orchestration",
    ]);
    succeed(build).await?;

    let mut scene = Scene::set(options.without_redis, may_install).await?;
    scene.show_tiers().await?;
    scene.show_change().await?;
    scene.show_caches().await?;
    if options.once {
        return Ok(());
    }
    scene.print_addresses();
    println!("\npress Ctrl-C to end");
    signals::interrupted().await;
    println!("ending");
    Ok(())
}

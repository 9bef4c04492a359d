//! Runs workers and orchestration services as processes, and shows tasks that end, also when a
//! worker is killed, the cost of each tier of the cache, and how soon a changed template is used:
//! `cargo xtask demo`.

#![expect(
    clippy::print_stdout,
    reason = "this program talks to the person who runs it"
)]

mod cache;
mod service;
mod tasks;

use std::process::{Command, ExitCode};

use clap::Parser;
use service::{ORCHESTRATION, Service, WORKER};
use tasker_test_support::{
    HeldFolder, Result, TestDatabase, causes, delete_redis_keys, postgres, redis,
};
use tokio::signal::unix::{SignalKind, signal};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
const TASKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/tasks");

/// Shows tasks that run, a worker that is killed, and the cache of templates.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask demo")]
struct Options {
    /// End after the demonstration instead of staying up until Ctrl-C.
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match demonstrate(Options::parse().once).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Shows everything with a database and keys of its own, and deletes them, also after an error or
/// Ctrl-C.
async fn demonstrate(once: bool) -> Result {
    let (postgres, redis) = (postgres().await?, redis().await?);
    // From here on Ctrl-C does not end this process, because there is something to delete.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let database = TestDatabase::create().await?;
    let prefix = database.name();
    println!("PostgreSQL      {postgres}");
    println!("                uses the new database {prefix} only, and drops it at the end");
    println!("Redis           {redis}");
    println!("                uses keys below {prefix}: only, and deletes them at the end");
    let outcome = tokio::select! {
        outcome = show(&database, redis.url(), once) => outcome,
        _ = interrupt.recv() => if once { Err("interrupted".into()) } else { Ok(()) },
    };
    println!("\ndropping the database and the keys");
    let deleted = delete_redis_keys(redis.url(), &keys(&database)).await;
    outcome.and(deleted)
}

/// Starts the services and shows them at work. They end when this returns or is dropped.
async fn show(database: &TestDatabase, redis_url: &str, once: bool) -> Result {
    let folder = HeldFolder::create()?;
    let templates = folder.path().join("tasks");
    let mut copy = Command::new("cp");
    let copied = copy.args(["-r", TASKS]).arg(&templates).status()?;
    assert!(copied.success(), "the templates cannot be copied");
    let settings = [
        ("DATABASE_URL", database.url()),
        ("REDIS_URL", redis_url),
        ("TASKER_CONFIG_ROOT", CONFIG),
        ("TASKER_TEMPLATE_PATH", &templates.to_string_lossy()),
        ("TASKER__COMMON__CACHE__ENABLED", "true"),
        ("TASKER__COMMON__CACHE__KEY_PREFIX", database.name()),
        // A killed worker loses its steps after this time.
        ("TASKER__WORKER__EXECUTION__LEASE_SECONDS", "3"),
        // One worker would else take the steps of all tasks before the other is awake.
        ("TASKER__WORKER__EXECUTION__MAX_CONCURRENT_STEPS", "4"),
        ("RUST_LOG", "warn"),
    ];
    let mut worker = Service::start(WORKER, &settings).await?;
    let victim = Service::start(WORKER, &settings).await?;
    let mut first = Service::start(ORCHESTRATION, &settings).await?;
    let second = Service::start(ORCHESTRATION, &settings).await?;
    println!("workers         {} and {}", worker.url(""), victim.url(""));
    println!("orchestration   {} and {}", first.url(""), second.url(""));

    let registered = tasks::templates(&worker).await?;
    let named = |name| {
        let mut all = registered.iter();
        all.find(|template| template.name == name)
            .ok_or_else(|| format!("{name} is not registered"))
    };
    tasks::show(&first, &registered).await?;
    tasks::show_kill(&first, named("storefront/checkout/1.2.0")?, &victim).await?;

    // The steps of the next tasks would compete with the requests that are measured.
    worker.process.stop().await?;
    // The templates are in the memory of this service, and in Redis.
    first.restart().await?;
    delete_redis_keys(redis_url, &keys(database)).await?;
    cache::show_tiers(&registered, [&first, &second], redis_url, &keys(database)).await?;
    let signup = named("accounts/signup/1.0.0")?;
    let file = templates.join("accounts/signup.yaml");
    cache::show_change(&mut worker, &second, signup, &file, database.url()).await?;
    if !once {
        let [worker, first, second] = [&worker, &first, &second].map(|service| service.url(""));
        println!(
            "\nAll stays up until Ctrl-C: worker {worker}, orchestration {first} and {second}"
        );
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Returns the pattern of the keys of this demonstration.
fn keys(database: &TestDatabase) -> String {
    format!("{}:*", database.name())
}

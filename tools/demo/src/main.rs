//! Runs a worker and two orchestration services as processes, and shows which tier of the cache
//! answers, its cost, and how soon a changed template is used: `cargo xtask demo`.

#![expect(
    clippy::print_stdout,
    reason = "this program talks to the person who runs it"
)]

mod service;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Parser;
use redis::AsyncCommands;
use serde_json::{Value, json};
use service::{Failure, Service};
use sqlx::{Connection, PgConnection};
use tasker_test_support::{HeldFolder, SharedServer, TestDatabase, postgres, redis_connection};
use tokio::sync::mpsc;
use uuid::Uuid;

const TEMPLATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/tasks");
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
/// The file that is changed, and the line in it.
const CHANGED: (&str, &str) = ("accounts/signup.yaml", "description: ");
const WARM_REQUESTS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(30);

/// Shows what the template cache does.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask demo")]
struct Options {
    /// End after the demonstration instead of staying up until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Run as if no Redis could be reached.
    #[arg(long)]
    without_redis: bool,
}

/// A template and a context that its `input_schema` accepts.
struct Template {
    namespace: String,
    name: String,
    version: String,
    context: Value,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let postgres = postgres().await?;
    // Dropped last, so that no service still uses it.
    let database = TestDatabase::create().await?;
    let redis = if options.without_redis {
        None
    } else {
        Some(tasker_test_support::redis().await?)
    };
    let prefix = database.name();
    println!("PostgreSQL      {postgres}");
    println!("                uses the new database {prefix} only, and drops it at the end");
    if let Some(redis) = redis {
        println!("Redis           {redis}");
        println!("                uses keys below {prefix}: only, and deletes them at the end");
    }
    let folder = HeldFolder::create()?;
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(TEMPLATES).arg(folder.path());
    assert!(copy.status()?.success(), "the templates cannot be copied");
    let files = folder.path().join("tasks");
    let redis_url = redis.map_or("redis://127.0.0.1:1", SharedServer::url);
    let settings = [
        ("DATABASE_URL", database.url()),
        ("REDIS_URL", redis_url),
        ("TASKER_CONFIG_ROOT", CONFIG),
        ("TASKER_TEMPLATE_PATH", &files.to_string_lossy()),
        ("TASKER__COMMON__CACHE__ENABLED", "true"),
        ("TASKER__COMMON__CACHE__KEY_PREFIX", prefix),
        ("RUST_LOG", "warn"),
    ];
    let mut worker = Service::worker(&settings).await?;
    let first = Service::orchestration(&settings).await?;
    let second = Service::orchestration(&settings).await?;
    println!("worker          {}", worker.url());
    println!("orchestration   {} and {}", first.url(), second.url());

    let templates = templates(&worker).await?;
    // Listing them has filled the worker's tiers, and Redis.
    worker.delete("/templates/cache").await?;
    show_tiers(&templates, [&first, &second], redis, prefix).await?;
    show_change(&mut worker, &settings, &second, database.url(), &files).await?;
    if !options.once {
        print_what_to_try(&worker, &first, &files);
        stay(&mut worker, &settings).await?;
    }
    let deleted = worker.delete("/templates/cache").await;
    println!("\ndropping the database and the keys");
    deleted
}

/// Returns all registered templates, with the example of a context that each has in its file.
async fn templates(worker: &Service) -> Result<Vec<Template>, Failure> {
    let list = worker.get("/templates").await?;
    let mut templates = Vec::new();
    for listed in list["templates"].as_array().into_iter().flatten() {
        let text = |key: &str| listed[key].as_str().unwrap_or_default().to_owned();
        let (namespace, name, version) = (text("namespace"), text("name"), text("version"));
        let path = format!("/templates/{namespace}/{name}/{version}");
        let template = worker.get(&path).await?;
        templates.push(Template {
            context: template["template"]["input_schema"]["examples"][0].clone(),
            namespace,
            name,
            version,
        });
    }
    Ok(templates)
}

/// Creates a task and returns the hash of the template that it was made from, and how long that
/// took.
async fn create_task(
    service: &Service,
    template: &Template,
) -> Result<(String, Duration), Failure> {
    let request = json!({
        "namespace": template.namespace, "name": template.name, "version": template.version,
        "context": template.context,
        // Without a key of its own it would be a duplicate of the one before.
        "idempotency_key": Uuid::now_v7().to_string(),
    });
    let started = Instant::now();
    let created = service.post("/v1/tasks", &request).await?;
    let took = started.elapsed();
    let hash = created["template_hash"].as_str().unwrap_or_default();
    Ok((hash.to_owned(), took))
}

/// Creates tasks where no tier has the templates, where Redis has them, and where the process has
/// them.
async fn show_tiers(
    templates: &[Template],
    [first, second]: [&Service; 2],
    redis: Option<&SharedServer>,
    prefix: &str,
) -> Result<(), Failure> {
    println!(
        "\n{} templates, a task of each; a development build:",
        templates.len()
    );
    println!(
        "{:<34} {:>10} {:>18}",
        "template found in", "resolving", "the whole request"
    );
    show_tier("PostgreSQL, the first time", "database", first, templates).await?;
    if let Some(redis) = redis {
        let started = Instant::now();
        while cached(redis, prefix).await? < templates.len() && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        show_tier("Redis, by the other process", "redis", second, templates).await?;
        let again = templates.iter().cycle().take(WARM_REQUESTS);
        show_tier("memory", "local", second, again).await?;
    }
    Ok(())
}

async fn show_tier(
    title: &str,
    tier: &str,
    service: &Service,
    templates: impl IntoIterator<Item = &Template>,
) -> Result<(), Failure> {
    // The first request of a process also opens connections and loads the index.
    service.get("/v1/handlers/none/none").await.ok();
    let before = service.resolves(tier).await?;
    let mut requests = Vec::new();
    for template in templates {
        requests.push(create_task(service, template).await?.1);
    }
    let after = service.resolves(tier).await?;
    requests.sort_unstable();
    let count = after.count - before.count;
    let resolving = if count > 0.0 {
        microseconds((after.seconds - before.seconds) / count)
    } else {
        // Resolves from memory are not timed, because that would take longer than they do.
        String::from("-")
    };
    let request = microseconds(requests[requests.len() / 2].as_secs_f64());
    println!("{title:<34} {resolving:>10} {request:>18}");
    Ok(())
}

fn microseconds(seconds: f64) -> String {
    format!("{:.0} us", seconds * 1e6)
}

/// Returns the number of templates that Redis has.
async fn cached(redis: &SharedServer, prefix: &str) -> Result<usize, Failure> {
    let mut connection = redis_connection(redis.url()).await?;
    let mut found = connection
        .scan_match::<_, String>(format!("{prefix}:*"))
        .await?;
    let mut names = HashSet::new();
    while let Some(name) = found.next_item().await {
        names.insert(name?);
    }
    Ok(names.len())
}

/// Changes a file, restarts the worker as a deployment does, and creates tasks meanwhile until one
/// is made from the new template.
async fn show_change(
    worker: &mut Service,
    settings: &[(&str, &str)],
    orchestration: &Service,
    database_url: &str,
    folder: &Path,
) -> Result<(), Failure> {
    let (file, line) = CHANGED;
    let path = folder.join(file);
    let description = "Changed by the demonstration";
    let changed: String = fs::read_to_string(&path)?
        .lines()
        .map(|text| {
            if text.starts_with(line) {
                format!("{line}{description}\n")
            } else {
                format!("{text}\n")
            }
        })
        .collect();
    let all = templates(worker).await?;
    let template = all
        .iter()
        .find(|one| file.contains(&one.name))
        .ok_or("no such template")?;
    let (old_hash, _) = create_task(orchestration, template).await?;
    fs::write(&path, changed)?;
    println!("\nchanged {file}, restarting the worker");

    let restarted = worker.restart(settings);
    let committed = async {
        let mut connection = PgConnection::connect(database_url).await?;
        let sql =
            "SELECT count(*) FROM tasker.named_tasks WHERE configuration->>'description' = $1";
        loop {
            let query = sqlx::query_scalar::<_, i64>(sql).bind(description);
            if query.fetch_one(&mut connection).await? > 0 {
                return Ok::<_, Failure>(Instant::now());
            }
        }
    };
    let used = async {
        loop {
            let (hash, _) = create_task(orchestration, template).await?;
            if hash != old_hash {
                return Ok::<_, Failure>((hash, Instant::now()));
            }
        }
    };
    let change = async { tokio::try_join!(restarted, committed, used) };
    let ((), committed, (new_hash, used)) = tokio::time::timeout(PATIENCE, change).await??;
    println!("template_hash   {old_hash}\n             -> {new_hash}");
    println!(
        "The other process made a task from it {:.1} ms after the commit.",
        used.saturating_duration_since(committed).as_secs_f64() * 1e3
    );
    Ok(())
}

fn print_what_to_try(worker: &Service, orchestration: &Service, folder: &Path) {
    println!("\nTry:");
    println!("  curl {}/templates", worker.url());
    println!(
        "  curl {}/v1/tasks -H 'content-type: application/json' \\",
        orchestration.url()
    );
    println!(
        "    -d '{}'",
        json!({"namespace": "accounts", "name": "signup", "version": "1.0.0",
               "context": {"email": "ada@example.com"}})
    );
    println!(
        "  edit a file in {}, then press Enter here",
        folder.display()
    );
    println!("Enter restarts the worker, which registers changed files. Ctrl-C ends all.");
}

/// Restarts the worker for each line that is entered, until Ctrl-C.
async fn stay(worker: &mut Service, settings: &[(&str, &str)]) -> Result<(), Failure> {
    let (sender, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let entered = std::io::stdin().lines().map_while(Result::ok);
        entered.for_each(|line| drop(sender.send(line)));
    });
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            ended = &mut interrupted => return Ok(ended?),
            Some(_) = lines.recv() => {
                worker.restart(settings).await?;
                println!("the worker was restarted; its log:\n{}", worker.log());
            }
        }
    }
}

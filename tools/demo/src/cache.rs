//! The cache of templates: the cost of each tier, and how soon a changed template is used.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tasker_test_support::{Failure, Result, redis_keys};
use tokio::time::timeout;

use crate::service::Service;
use crate::tasks::{Template, create, text};

const WARM_REQUESTS: usize = 200;
const LIMIT: Duration = Duration::from_secs(30);

/// Creates tasks while no tier has the templates, when Redis has them, and when the process has
/// them.
pub(crate) async fn show_tiers(
    templates: &[Template],
    [first, second]: [&Service<'_>; 2],
    redis_url: &str,
    keys: &str,
) -> Result {
    println!(
        "\nThe same templates from each tier of the cache, without workers (development build):"
    );
    println!(
        "{:<34} {:>10} {:>18}",
        "template found in", "resolving", "the whole request"
    );
    show_tier("PostgreSQL, the first time", "database", first, templates).await?;
    let filled = redis_keys(redis_url, keys).await?.len();
    if filled < templates.len() {
        return Err(format!("Redis has {filled} of {} templates", templates.len()).into());
    }
    show_tier("Redis, by the other process", "redis", second, templates).await?;
    let again = templates.iter().cycle().take(WARM_REQUESTS);
    show_tier("memory", "local", second, again).await
}

async fn show_tier(
    title: &str,
    tier: &str,
    service: &Service<'_>,
    templates: impl IntoIterator<Item = &Template>,
) -> Result {
    // The first request of a process also opens connections and loads the index.
    service.get("/v1/handlers/none/none").await.ok();
    let mut requests = Vec::new();
    for template in templates {
        let started = Instant::now();
        create(service, template, "").await?;
        requests.push(started.elapsed());
    }
    requests.sort_unstable();
    let metric = async |part| {
        let name = "tasker_template_resolve_duration_seconds";
        service
            .metric(&format!("{name}_{part}{{tier=\"{tier}\"}}"))
            .await
    };
    let (count, seconds) = (metric("count").await?, metric("sum").await?);
    let resolving = if count > 0.0 {
        microseconds(seconds / count)
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

/// Changes a file, starts the worker again as a deployment does, and creates tasks meanwhile until
/// one is made from the new template.
pub(crate) async fn show_change(
    worker: &mut Service<'_>,
    orchestration: &Service<'_>,
    template: &Template,
    file: &Path,
    database_url: &str,
) -> Result {
    let hash = async || {
        let task = create(orchestration, template, "").await?;
        Ok::<_, Failure>(text(&task["template_hash"]).to_owned())
    };
    let old_hash = hash().await?;
    let content = fs::read_to_string(file)?;
    fs::write(
        file,
        content.replace("description: \"", "description: \"Changed: "),
    )?;
    println!("\nchanged the file of {}, starting a worker", template.name);

    let committed = async {
        let mut connection = PgConnection::connect(database_url).await?;
        let sql = "SELECT EXISTS (SELECT FROM tasker.named_tasks \
                   WHERE configuration->>'description' LIKE 'Changed: %')";
        while !sqlx::query_scalar(sql).fetch_one(&mut connection).await? {}
        Ok(Instant::now())
    };
    let used = async {
        loop {
            let hash = hash().await?;
            if hash != old_hash {
                return Ok((hash, Instant::now()));
            }
        }
    };
    let change = async { tokio::try_join!(worker.restart(), committed, used) };
    let ((), committed, (new_hash, used)) = timeout(LIMIT, change).await??;
    println!("template_hash   {old_hash}\n             -> {new_hash}");
    println!(
        "The other process made a task from it {:.1} ms after the commit.",
        used.saturating_duration_since(committed).as_secs_f64() * 1e3
    );
    Ok(())
}

//! Analytics on a million finished tasks, over HTTP.

use std::time::Instant;

use tasker_test_support::PostgresServer;

use super::fleet::{Fleet, register_linear};
use super::loaded::load_finished;
use crate::Bench;
use crate::error::Result;
use crate::measure::ms;
use crate::report::{Bar, Report};

/// The templates of the finished tasks. Each has a sum for each hour.
const TEMPLATES: usize = 50;
const PERFORMANCE: &str = "performance?hours=";
const BOTTLENECKS: &str = "bottlenecks?limit=";
/// The most hours and the most rows, so that each round has parameters of its own, and reads all tasks.
const HOURS: usize = 720;
const ROWS: usize = 100;

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (world, effort, report) = bench.parts();
    let server = PostgresServer::start().await?;
    let prefix = format!("{}_analytics", world.prefix);
    let environment = [
        ("REDIS_URL", &*world.redis_url),
        ("TASKER__COMMON__CACHE__ENABLED", "true"),
        ("TASKER__COMMON__CACHE__KEY_PREFIX", &prefix),
    ];
    let fleet = Fleet::start_with(&server, 1, &environment).await?;
    for number in 1..TEMPLATES {
        register_linear(&fleet.pool, &format!("linear_{number}")).await?;
    }
    load_finished(&fleet, effort).await?;
    catch_up(&fleet, report).await?;

    for (name, path, most) in [
        ("performance", PERFORMANCE, HOURS),
        ("bottlenecks", BOTTLENECKS, ROWS),
    ] {
        let (mut uncached, mut cached) = (Vec::new(), Vec::new());
        for round in 0..effort.rounds {
            let path = format!("{path}{}", most - 1 - round);
            uncached.push(ask(&fleet, &path).await?);
            cached.push(ask(&fleet, &path).await?);
        }
        let what = format!("{name} of 1,000,000 tasks, uncached");
        report.alone(what, "ms", uncached, Bar::NeverOver(500.0));
        let what = format!("{name} of 1,000,000 tasks, cached");
        report.alone(what, "ms", cached, Bar::AtMost(2.0));
    }
    Ok(())
}

/// Asks while the tasks, which came as an import, are not summed, and waits until they are.
async fn catch_up(fleet: &Fleet, report: &mut Report) -> Result {
    let begun = Instant::now();
    let mut times = Vec::new();
    let behind = "SELECT count(*) FROM tasker.analytics_dirty";
    while sqlx::query_scalar::<_, i64>(behind)
        .fetch_one(&fleet.pool)
        .await?
        > 0
    {
        // Without an entry in the cache, which would have the figures of the last round.
        let hours = HOURS - 100 - times.len() % 500;
        times.push(ask(fleet, &format!("{PERFORMANCE}{hours}")).await?);
    }
    let what = "performance while an import is summed";
    report.alone(what, "ms", times, Bar::NeverOver(3_000.0));
    let took = begun.elapsed().as_secs_f64();
    report.alone(
        "summing an import of 1,000,000 tasks",
        "s",
        [took],
        Bar::Shown,
    );
    Ok(())
}

/// Returns the time of an answer, in milliseconds.
async fn ask(fleet: &Fleet, path: &str) -> Result<f64> {
    let mut client = fleet.clients[0].lock().await;
    let begun = Instant::now();
    let line = format!("GET /v1/analytics/{path}");
    client.send(&line, "").await?;
    Ok(ms(begun.elapsed()))
}

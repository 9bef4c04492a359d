//! The statements that a process sends while nothing changes.

use std::time::{Duration, Instant};

use tasker_shared::registry::TaskHandlerRegistry;
use tokio::time::sleep;

use crate::Bench;
use crate::counters;
use crate::error::Result;
use crate::fixtures::{SMALL, VERSION};
use crate::report::Bar;

/// A process that has just resolved still polls once more.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (world, effort, report) = bench.parts();
    let templates = world.register("idle", 1, SMALL).await?;
    let process = world.process().await?;
    let busy = Duration::from_secs(effort.of(20) as u64);
    let resolving = resolve_for(&process.registry, "idle", &templates.names[0], busy);
    let ((), sent) = counters::statements(&world.pool, counters::ALL, resolving).await?;
    let per_second = sent.count / busy.as_secs_f64();
    let what = "a process that resolves, nothing changes";
    report.alone(what, "statements/s", [per_second], Bar::AtMost(2.0));

    sleep(SETTLE).await;
    let minute = Duration::from_secs(effort.of(60) as u64);
    let waiting = async {
        sleep(minute).await;
        Ok(())
    };
    let ((), sent) = counters::statements(&world.pool, counters::ALL, waiting).await?;
    let what = "a process that resolves nothing";
    let unit = "statements in a minute";
    report.alone(what, unit, [sent.count], Bar::AtMost(1.0));
    process.stop().await;
    Ok(())
}

/// Resolves a template a hundred times a second for so long.
pub(crate) async fn resolve_for(
    registry: &TaskHandlerRegistry,
    namespace: &str,
    name: &str,
    time: Duration,
) -> Result {
    let started = Instant::now();
    while started.elapsed() < time {
        registry.resolve(namespace, name, VERSION).await?;
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

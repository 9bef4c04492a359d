//! A thousand concurrent resolves of one template that is cached nowhere.

use std::sync::Arc;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::Bench;
use crate::counters::{self, calls};
use crate::error::Result;
use crate::fixtures::{SMALL, VERSION};
use crate::measure::rate;
use crate::report::Bar;
use crate::world::{Templates, World};

const CALLERS: usize = 1_000;

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let (world, effort, report) = bench.parts();
    let templates = world.register("stampede", 1, SMALL).await?;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        rounds.push(resolve_at_once(world, &templates).await?);
    }
    let what = "1,000 concurrent cold resolves of one template";
    for (index, unit) in ["SQL", "GET", "SET"].into_iter().enumerate() {
        let figures = rounds.iter().map(|counts| counts[index]);
        report.alone(what, unit, figures, Bar::Exactly(1.0));
    }
    Ok(())
}

/// Returns the statements that loaded the document, the GETs and the SETs.
async fn resolve_at_once(world: &World, templates: &Arc<Templates>) -> Result<[f64; 3]> {
    let mut redis = world.redis().await?;
    let () = redis.del(&templates.keys).await?;
    let process = world.process().await?;
    let before = commands(&mut redis).await?;
    let shared = Arc::new((Arc::clone(&process.registry), Arc::clone(templates)));
    let resolving = rate(CALLERS, 0..CALLERS, &shared, |shared, _| async move {
        let (registry, templates) = &*shared;
        registry
            .resolve(&templates.namespace, &templates.names[0], VERSION)
            .await?;
        Ok(())
    });
    let (_, loads) = counters::statements(&world.pool, "configuration", resolving).await?;
    let after = commands(&mut redis).await?;
    process.stop().await;
    let [gets, sets] = [0, 1].map(|command| (after[command] - before[command]) as f64);
    Ok([loads.count, gets, sets])
}

/// Returns the GETs and the SETs so far.
async fn commands(redis: &mut MultiplexedConnection) -> Result<[u64; 2]> {
    // A fill may use either command to set the value with its expiry.
    let sets = calls(redis, "set").await? + calls(redis, "setex").await?;
    Ok([calls(redis, "get").await?, sets])
}

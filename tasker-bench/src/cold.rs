//! Many resolves at once with nothing cached anywhere.

use std::sync::Arc;
use std::time::Duration;

use redis::AsyncCommands;

use crate::counters::{self, Commands, Statement};
use crate::error::BenchError;
use crate::fixtures::{SMALL, VERSION};
use crate::letter::Letter;
use crate::measure::{Effort, load, ms, rounds};
use crate::report::{Bar, Report};
use crate::world::World;

const NAMESPACE: &str = "herd";
const CALLERS: usize = 1_000;

pub(crate) async fn run(
    world: &World,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let names = world.register(NAMESPACE, CALLERS, SMALL).await?;
    let one = Arc::new(vec![names[0].clone()]);
    walls(world, &one, effort, report).await?;
    one_template(world, &one, report).await?;
    many_templates(world, &names, report).await
}

/// All callers resolve at once, in a process that has its directory and nothing else.
async fn herd(
    world: &World,
    names: &Arc<Vec<String>>,
    callers: usize,
) -> Result<(Duration, Vec<Statement>, Sent), BenchError> {
    forget(world, names).await?;
    let process = world.process().await?;
    let mut redis = world.redis().await?;
    let before = Commands::read(&mut redis).await?;
    let (registry, names) = (Arc::clone(&process.registry), Arc::clone(names));
    let resolving = load(callers, callers, move |number| {
        let (registry, names) = (Arc::clone(&registry), Arc::clone(&names));
        async move {
            let name = &names[number % names.len()];
            registry.resolve(NAMESPACE, name, VERSION).await?;
            Ok(())
        }
    });
    let (took, statements) = counters::statements(resolving).await?;
    process.provider.flush_fills(Duration::from_secs(10)).await;
    let after = Commands::read(&mut redis).await?;
    process.stop().await;
    let sent = Sent {
        gets: after.since(&before, "get"),
        sets: after.since(&before, "set"),
    };
    Ok((took, statements, sent))
}

/// What Redis was sent.
struct Sent {
    gets: u64,
    sets: u64,
}

async fn forget(world: &World, names: &[String]) -> Result<(), BenchError> {
    let keys: Vec<String> = names
        .iter()
        .map(|name| world.key(NAMESPACE, name))
        .collect();
    let () = world.redis().await?.del(keys).await?;
    Ok(())
}

async fn walls(
    world: &World,
    one: &Arc<Vec<String>>,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let took = async |callers| Ok::<_, BenchError>(ms(herd(world, one, callers).await?.0));
    let pairs = rounds(
        effort.rounds,
        || took(CALLERS),
        async || Ok(3.0 * took(1).await? + 5.0),
    )
    .await?;
    report.compared(
        "1,000 concurrent cold resolves of one template",
        "ms",
        "3 x one cold resolve + 5 ms",
        pairs,
        Some(Bar::AtMost(1.0)),
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
async fn one_template(
    world: &World,
    one: &Arc<Vec<String>>,
    report: &mut Report,
) -> Result<(), BenchError> {
    let (_, statements, sent) = herd(world, one, CALLERS).await?;
    let letter = Letter::connect(world.pool.clone(), &world.redis_url).await?;
    let (_, by_the_letter) = counters::statements(letter_herd(&letter, &one[0])).await?;
    report.compared(
        "1,000 concurrent cold resolves of one template",
        "SQL statements",
        "the letter of the specification",
        vec![(bodies(&statements) as f64, bodies(&by_the_letter) as f64)],
        None,
    );
    for (what, count) in [
        ("SQL statements", bodies(&statements) as f64),
        ("GET", sent.gets as f64),
        ("SET", sent.sets as f64),
    ] {
        report.alone(
            "1,000 concurrent cold resolves of one template",
            what,
            vec![count],
            Some(Bar::NeverOver(1.0)),
        );
    }
    Ok(())
}

async fn letter_herd(letter: &Letter, name: &str) -> Result<Duration, BenchError> {
    letter.clone().forget(NAMESPACE, name, VERSION).await?;
    let (letter, name) = (letter.clone(), name.to_owned());
    load(CALLERS, CALLERS, move |_| {
        let (mut letter, name) = (letter.clone(), name.clone());
        async move {
            // Some of so many wait in vain for a connection of the pool.
            letter.resolve(NAMESPACE, &name, VERSION).await.ok();
            Ok(())
        }
    })
    .await
}

/// Statements of resolves: the others set up a connection or keep the directory.
fn bodies(statements: &[Statement]) -> usize {
    statements
        .iter()
        .filter(|statement| statement.reads_a_template())
        .count()
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
async fn many_templates(
    world: &World,
    names: &Arc<Vec<String>>,
    report: &mut Report,
) -> Result<(), BenchError> {
    // A resolve that found the pool exhausted or ran into a timeout would fail all of this.
    let (took, statements, _) = herd(world, names, CALLERS).await?;
    report.alone(
        "1,000 concurrent cold resolves of 1,000 templates, none failed",
        "SQL statements",
        vec![bodies(&statements) as f64],
        Some(Bar::NeverOver(1_000.0)),
    );
    report.alone(
        "1,000 concurrent cold resolves of 1,000 templates",
        "ms",
        vec![ms(took)],
        None,
    );
    Ok(())
}

//! Many resolves at once with nothing cached anywhere.

use std::cell::RefCell;
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
const TIMEOUTS: &str = "timeouts of Redis";

pub(crate) async fn run(
    world: &World,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let names = world.register(NAMESPACE, CALLERS, SMALL).await?;
    let one = Arc::new(vec![names[0].clone()]);
    one_template(world, &one, effort, report).await?;
    many_templates(world, &names, effort, report).await
}

/// What resolving at once came to.
struct Herd {
    took: Duration,
    /// Those that read a template.
    statements: usize,
    /// Those that do not, and do not poll: they set up connections.
    other_statements: usize,
    gets: u64,
    sets: u64,
    timeouts: u64,
}

/// All callers resolve at once, in a process that has its directory and nothing else, within the budget
/// for Redis that services have. One that fails, as without a connection in time, fails all of this.
async fn herd(world: &World, names: &Arc<Vec<String>>, callers: usize) -> Result<Herd, BenchError> {
    forget(world, names).await?;
    let process = world.process_on_budget().await?;
    let mut redis = world.redis().await?;
    let before = Commands::read(&mut redis).await?;
    let timeouts = counters::cache_timeouts();
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
    let of_resolves = bodies(&statements);
    let polls = statements.iter().filter(|one| one.is_poll()).count();
    Ok(Herd {
        took,
        statements: of_resolves,
        other_statements: statements.len() - of_resolves - polls,
        gets: after.since(&before, "get"),
        sets: after.since(&before, "set"),
        timeouts: counters::cache_timeouts() - timeouts,
    })
}

async fn forget(world: &World, names: &[String]) -> Result<(), BenchError> {
    let keys: Vec<String> = names
        .iter()
        .map(|name| world.key(NAMESPACE, name))
        .collect();
    let () = world.redis().await?.del(keys).await?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
async fn one_template(
    world: &World,
    one: &Arc<Vec<String>>,
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let what = "1,000 concurrent cold resolves of one template";
    let herds = RefCell::new(Vec::new());
    let walls = rounds(
        effort.rounds,
        async || {
            let herd = herd(world, one, CALLERS).await?;
            let took = ms(herd.took);
            herds.borrow_mut().push(herd);
            Ok(took)
        },
        async || Ok(3.0 * ms(herd(world, one, 1).await?.took) + 5.0),
    )
    .await?;
    let herds = herds.into_inner();
    let letter = Letter::connect(world.pool.clone(), &world.redis_url).await?;
    let mut beside = Vec::new();
    for herd in herds.iter().take(effort.few_rounds()) {
        let (_, by_the_letter) = counters::statements(letter_herd(&letter, &one[0])).await?;
        beside.push((herd.statements as f64, bodies(&by_the_letter) as f64));
    }
    let bar = Some(Bar::AtMost(1.0));
    report.compared(what, "ms", "3 x one cold resolve + 5 ms", walls, bar);
    report.compared(
        what,
        "SQL statements",
        "the letter of the specification",
        beside,
        None,
    );
    let counts = |of: fn(&Herd) -> f64| herds.iter().map(of).collect();
    let exactly = Some(Bar::Always(1.0));
    let statements = counts(|herd| herd.statements as f64);
    report.alone(what, "SQL statements", statements, exactly);
    report.alone(what, "GET", counts(|herd| herd.gets as f64), exactly);
    report.alone(what, "SET", counts(|herd| herd.sets as f64), exactly);
    let timeouts = counts(|herd| herd.timeouts as f64);
    report.alone(what, TIMEOUTS, timeouts, Some(Bar::Always(0.0)));
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

/// How many of these read a template.
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
    effort: Effort,
    report: &mut Report,
) -> Result<(), BenchError> {
    let what = "1,000 concurrent cold resolves of 1,000 templates, none failed";
    let mut herds = Vec::new();
    for _ in 0..effort.few_rounds() {
        herds.push(herd(world, names, CALLERS).await?);
    }
    let figures = |of: fn(&Herd) -> f64| herds.iter().map(of).collect();
    let statements = figures(|herd| herd.statements as f64);
    let bar = Some(Bar::Always(1_000.0));
    report.alone(what, "SQL statements that read one", statements, bar);
    let others = figures(|herd| herd.other_statements as f64);
    report.alone(what, "other statements, polls apart", others, None);
    let timeouts = figures(|herd| herd.timeouts as f64);
    report.alone(what, TIMEOUTS, timeouts, Some(Bar::Always(0.0)));
    report.alone(what, "ms", figures(|herd| ms(herd.took)), None);
    Ok(())
}

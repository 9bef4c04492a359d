//! Tasks whose steps run, over HTTP, with an orchestration service, workers and PostgreSQL as
//! processes, beside bare jobs.

mod analytics;
mod bare;
mod client;
mod fleet;
mod loaded;
mod snapshot;

use tasker_test_support::{PostgresServer, cpu_seconds_of_descendants};

use self::fleet::{CONCURRENCY, FAN_STEPS, Fleet};
use crate::Bench;
use crate::counters;
use crate::error::Result;
use crate::measure::{Effort, Pair, rounds};
use crate::report::{Bar, Report, Spread};

pub(crate) use self::analytics::measure as measure_analytics;
pub(crate) use self::fleet::become_service;
pub(crate) use self::loaded::measure as measure_loaded;
pub(crate) use self::snapshot::measure as measure_snapshot;

/// Tasks of a round.
const TASKS: usize = 2_000;
/// Tasks of a round, one at a time.
const SINGLE_TASKS: usize = 400;
/// Jobs of a round.
const JOBS: usize = 8_000;
/// The concurrency of the bare jobs that the fan-out is compared with.
const FAN_JOBS: usize = 16;

pub(crate) async fn measure(bench: &mut Bench) -> Result {
    let durable: &[_] = &[("fsync", "on"), ("full_page_writes", "on")];
    let settings = if bench.fsync { durable } else { &[] };
    let (_, effort, report) = bench.parts();
    let server = PostgresServer::start_with(settings).await?;
    let fleet = Fleet::start(&server, 1).await?;
    single(&fleet, effort, report).await?;
    concurrent(&fleet, effort, report).await?;
    fan(&fleet, effort, report).await?;
    count_statements(report).await?;
    workers(&server, &fleet, effort, report).await
}

async fn single(fleet: &Fleet, effort: Effort, report: &mut Report) -> Result {
    let (tasks, jobs) = (effort.of(SINGLE_TASKS), effort.of(4 * SINGLE_TASKS));
    let (mut medians, mut tails) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let job = Spread::of(bare::times(&fleet.pool, jobs).await?).median;
        let times = Spread::of(fleet.times(tasks).await?);
        medians.push((times.median, 2.0 + 6.0 * job));
        tails.push((times.p99, times.median));
    }
    let what = "task of 4 steps, c=1, median";
    report.compared(what, "ms", "2 ms + 6 bare jobs", &medians, Bar::AtMost(1.0));
    let what = "task of 4 steps, c=1, p99";
    report.compared(what, "ms", "its median", &tails, Bar::AtMost(5.0));
    Ok(())
}

async fn concurrent(fleet: &Fleet, effort: Effort, report: &mut Report) -> Result {
    let tasks = effort.of(TASKS);
    let mut cpu = Vec::new();
    let pairs = rounds(
        effort.few_rounds(),
        async || {
            let (rate, used) = with_cpu(fleet.tasks_per_second(tasks), tasks).await?;
            cpu.push(used);
            Ok(rate)
        },
        async || Ok(bare::rate(&fleet.pool, CONCURRENCY, effort.of(JOBS)).await? / 4.0),
    )
    .await?;
    let what = "tasks of 4 steps, c=64";
    report.compared(what, "/s", "bare jobs / 4", &pairs, Bar::AtLeast(0.75));
    let what = "CPU of a task, c=64, all services and PostgreSQL";
    // The first round warmed up.
    report.alone(what, "ms", cpu.into_iter().skip(1), Bar::AtMost(1.2));
    Ok(())
}

async fn fan(fleet: &Fleet, effort: Effort, report: &mut Report) -> Result {
    let pairs = rounds(
        effort.few_rounds(),
        || fans(fleet, effort),
        || bare::rate(&fleet.pool, FAN_JOBS, effort.of(JOBS)),
    )
    .await?;
    let what = "steps of a fan-out of 1,000 and a join";
    report.compared(what, "/s", "bare jobs, c=16", &pairs, Bar::AtLeast(1.2));
    Ok(())
}

/// Returns the median over several fan-outs, one after the other.
async fn fans(fleet: &Fleet, effort: Effort) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..effort.of(12) {
        rates.push(fleet.fan_steps_per_second().await?);
    }
    Ok(Spread::of(rates).median)
}

async fn count_statements(report: &mut Report) -> Result {
    const TASKS: usize = 200;
    /// All but the resolve of a task's template, and the `INSERT` of all its rows.
    const BESIDE_CREATION: &str = r"^(?!.*(INSERT INTO tasker\.tasks|FROM tasker\.named_tasks))";
    // A server of its own, because counting slows short statements down.
    let server = PostgresServer::start_with(&counters::COUNTING).await?;
    let fleet = Fleet::start(&server, 1).await?;
    let tasks = fleet.times(TASKS);
    let (_, linear) = counters::statements(&fleet.pool, BESIDE_CREATION, tasks).await?;
    let what = "statements of a task of 4 steps beside its creation, c=1";
    report.alone(what, "", [linear.count / TASKS as f64], Bar::AtMost(6.0));
    let fan = fleet.fan_steps_per_second();
    let (_, fan) = counters::statements(&fleet.pool, BESIDE_CREATION, fan).await?;
    let what = "statements of a step of the fan-out";
    report.alone(what, "", [fan.count / FAN_STEPS as f64], Bar::AtMost(0.2));
    Ok(())
}

async fn workers(
    server: &PostgresServer,
    one: &Fleet,
    effort: Effort,
    report: &mut Report,
) -> Result {
    let tasks = effort.of(TASKS);
    let mut wrong = one.wrong_steps().await?;
    for count in [2, 4] {
        let several = Fleet::start(server, count).await?;
        let pairs = rounds(
            effort.few_rounds(),
            || several.tasks_per_second(tasks),
            || one.tasks_per_second(tasks),
        )
        .await?;
        let what = format!("tasks of 4 steps, c=64, {count} worker processes");
        report.compared(what, "/s", "one worker", &pairs, Bar::AtLeast(1.0));
        let pairs = rounds(
            effort.few_rounds(),
            || fans(&several, effort),
            || fans(one, effort),
        )
        .await?;
        let what = format!("steps of a fan-out, {count} worker processes");
        report.compared(what, "/s", "one worker", &pairs, Bar::AtLeast(1.0));
        wrong += several.wrong_steps().await?;
    }
    let what = "steps lost or run twice";
    report.alone(what, "", [wrong as f64], Bar::Exactly(0.0));
    Ok(())
}

/// Returns the result of `work`, and the servers' CPU time for each of `count`, in milliseconds.
async fn with_cpu<T>(work: impl Future<Output = Result<T>>, count: usize) -> Result<(T, f64)> {
    let before = cpu_seconds_of_descendants();
    let result = work.await?;
    Ok((
        result,
        (cpu_seconds_of_descendants() - before) * 1e3 / count as f64,
    ))
}

/// Returns the pairs of the second half of a run, in which a change over time shows.
fn second_half(pairs: &[Pair]) -> &[Pair] {
    &pairs[pairs.len() / 2..]
}

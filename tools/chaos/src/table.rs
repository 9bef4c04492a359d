//! The fault table: which rows there are, and how they are printed.

use std::time::Duration;

use crate::error::FaultsError;
use crate::fault::Fault;
use crate::figures::Spread;
use crate::registration;
use crate::row::{self, Lengths, Outcome};
use crate::verdict::{self, Miss};
use crate::world::{LocalTier, World};

/// Every fault, as `--only` names it and as the table does.
const ROWS: [(&str, &str, Fault); 22] = [
    ("calm", "nothing", Fault::Calm),
    ("kill", "killed, back with its data", Fault::Kill),
    ("kill-empty", "killed, back empty", Fault::KillEmpty),
    ("freeze", "frozen (SIGSTOP)", Fault::Freeze),
    ("slow", "each reply 200 ms late", Fault::Slow),
    ("stalls", "10% of pieces stall for 200 ms", Fault::Stalls),
    ("refused", "connections refused", Fault::Refused),
    ("black-hole", "black hole", Fault::BlackHole),
    ("half-open", "half-open connections", Fault::HalfOpen),
    ("full", "full (`maxmemory`, noeviction)", Fault::Full),
    ("replica", "read-only replica", Fault::Replica),
    ("password", "another password", Fault::Password),
    ("loading", "loading a big dump", Fault::Loading),
    ("flush", "flushed", Fault::Flush),
    ("flapping", "up 1 s, down 1 s", Fault::Flapping),
    (
        "postgres-slow",
        "killed, PostgreSQL 20 ms slower",
        Fault::PostgresSlow,
    ),
    (
        "cluster",
        "a cluster that loses a primary",
        Fault::ClusterPrimary,
    ),
    ("slots-move", "a cluster whose slots move", Fault::SlotsMove),
    (
        "sentinel",
        "a primary that its sentinels replace",
        Fault::SentinelFailover,
    ),
    (
        "boot-black-hole",
        "black hole at boot",
        Fault::BootBlackHole,
    ),
    ("boot-absent", "absent at boot", Fault::BootAbsent),
    (
        "boot-password",
        "wrong password at boot",
        Fault::BootPassword,
    ),
];

/// What is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    only: Vec<String>,
    lengths: Lengths,
    registrations: usize,
    times_count: bool,
}

/// The name of the rows that are [`registration`]'s.
const REGISTRATION: &str = "registration";

impl Plan {
    /// Ten seconds of each fault, or `seconds`, or what is enough for a look.
    pub(crate) fn new(only: Vec<String>, seconds: Option<u64>, quick: bool) -> Self {
        let lengths = if quick {
            Lengths {
                before: Duration::from_millis(300),
                fault: Duration::from_secs(seconds.unwrap_or(1)),
                after: Duration::from_millis(300),
                connecting: 1,
            }
        } else {
            Lengths {
                before: Duration::from_secs(2),
                fault: Duration::from_secs(seconds.unwrap_or(10)),
                after: Duration::from_secs(2),
                connecting: 5,
            }
        };
        Self {
            only,
            lengths,
            registrations: if quick { 5 } else { 20 },
            times_count: !quick,
        }
    }

    fn check(&self) -> Result<(), FaultsError> {
        let mut known = ROWS.map(|(name, _, _)| name).to_vec();
        known.push(REGISTRATION);
        for name in &self.only {
            if !known.contains(&name.as_str()) {
                return Err(FaultsError::NoSuchRow {
                    name: name.clone(),
                    known: known.join(", "),
                });
            }
        }
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == name)
    }
}

/// Runs the rows and prints each when it is done; says whether all bars are met.
pub(crate) async fn run(world: &World, plan: &Plan) -> Result<bool, FaultsError> {
    plan.check()?;
    head(plan);
    let mut met = true;
    for (_, what, fault) in ROWS.into_iter().filter(|(name, _, _)| plan.wants(name)) {
        for local_tier in [LocalTier::On, LocalTier::Off] {
            met &= run_row(world, what, fault, local_tier, plan).await?;
        }
    }
    if plan.wants(REGISTRATION) {
        met &= registration::run(world, plan.registrations, plan.times_count).await?;
    }
    Ok(met)
}

async fn run_row(
    world: &World,
    what: &str,
    fault: Fault,
    local_tier: LocalTier,
    plan: &Plan,
) -> Result<bool, FaultsError> {
    let mut lengths = plan.lengths;
    if fault == Fault::BootAbsent {
        // It arrives after five of ten seconds.
        lengths.fault = lengths.fault.div_f64(2.0).max(Duration::from_secs(1));
    }
    let mut attempt = 1;
    loop {
        let outcome = row::run(world, fault, local_tier, lengths).await?;
        let misses = verdict::misses(&outcome, fault, local_tier, lengths.connecting);
        let again = if attempt == 1 { "" } else { ", again" };
        print(&format!("{what}{again}"), local_tier, &outcome, &misses);
        if !verdict::wants_another(attempt, &misses, plan.times_count) {
            return Ok(verdict::holds(&misses, plan.times_count));
        }
        attempt += 1;
    }
}

fn head(plan: &Plan) {
    println!(
        "Each fault lasts about {:?}, under 16 resolvers. Times in ms, p50 / p99 / longest. Bars: 0 \
         failed, at most {} added to any request, at most {:.0}% touched in the first second and in \
         all, 0 while the breaker is open, back in use within {} ms, {} ms after the loss of a primary.",
        plan.lengths.fault,
        ms(verdict::ADDED),
        verdict::TOUCHED * 100.0,
        verdict::BACK.as_millis(),
        verdict::BACK_BY_ITSELF.as_millis(),
    );
    if !plan.times_count {
        println!(
            "Rows as short as these fail by what goes wrong, and by a time past its ceiling only."
        );
    }
    println!();
    println!(
        "| Redis is | local tier | requests | failed | before | during | after | added | in cache | touched: first second / all / open | opened | start | back | bars |"
    );
    println!(
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    );
}

fn print(what: &str, local_tier: LocalTier, outcome: &Outcome, misses: &[Miss]) {
    let figures = &outcome.figures;
    let verdict = verdict::text(misses);
    let opened = match figures.openings_before {
        0 => figures.openings.to_string(),
        before => format!("{} ({before} before)", figures.openings),
    };
    println!(
        "| {what} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1}% / {:.1}% / {} | {opened} | {} | {} | {verdict} |",
        local_tier.label(),
        figures.requests(),
        figures.failed,
        spread(figures.before),
        spread(figures.during),
        spread(figures.after),
        ms(figures.added),
        ms(figures.in_cache),
        figures.touched_at_onset * 100.0,
        figures.touched * 100.0,
        figures.touched_while_open,
        outcome.connected_in.as_millis(),
        outcome.back.map_or_else(
            || String::from("never"),
            |back| back.as_millis().to_string()
        ),
    );
}

fn spread(spread: Spread) -> String {
    if spread.count == 0 {
        return String::from("-");
    }
    format!(
        "{} / {} / {}",
        ms(spread.p50),
        ms(spread.p99),
        ms(spread.max)
    )
}

/// Milliseconds, with a digit behind the point.
fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

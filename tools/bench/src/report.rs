//! The table, and the same as JSON.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::error::BenchError;
use crate::measure::Pair;

/// What a figure has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    /// In the median of the rounds.
    AtLeast(f64),
    /// In the median of the rounds.
    AtMost(f64),
    /// In every round.
    NeverOver(f64),
    /// In every round.
    Always(f64),
}

impl Bar {
    fn is_met_by(self, rounds: Spread) -> bool {
        match self {
            Self::AtLeast(limit) => rounds.median >= limit,
            Self::AtMost(limit) => rounds.median <= limit,
            Self::NeverOver(limit) => rounds.max <= limit,
            Self::Always(value) => rounds.all_are(value),
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(limit) => format!(">= {}", number(limit)),
            Self::AtMost(limit) => format!("<= {}", number(limit)),
            Self::NeverOver(limit) => format!("always <= {}", number(limit)),
            Self::Always(value) => format!("always {}", number(value)),
        }
    }
}

/// The middle, the least and the most of all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        Self {
            median: at(values.len() / 2),
            min: at(0),
            max: at(values.len().saturating_sub(1)),
        }
    }

    fn all_are(self, value: f64) -> bool {
        (self.min - value).abs() < f64::EPSILON && (self.max - value).abs() < f64::EPSILON
    }
}

/// A figure beside its yardstick, or alone.
#[derive(Debug, Clone, Serialize)]
struct Row {
    what: String,
    unit: &'static str,
    yardstick: Option<&'static str>,
    ours: Spread,
    theirs: Option<Spread>,
    ratio: Option<Spread>,
    bar: Option<Bar>,
    met: Option<bool>,
    rounds: Vec<Pair>,
}

/// Where it was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) postgres: String,
    pub(crate) redis: String,
    pub(crate) started_at: String,
    pub(crate) load_at_start: String,
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or_else(String::new, |name| {
                name.trim_start_matches([':', ' ', '\t']).to_owned()
            });
        Self {
            cpu,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            postgres: String::new(),
            redis: String::new(),
            started_at: sqlx::types::chrono::Utc::now().to_rfc3339(),
            load_at_start: read("/proc/loadavg")
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// Durations of single operations, for the picture.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    pub(crate) what: String,
    pub(crate) sorted: Vec<Duration>,
}

/// All figures.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    quick: bool,
    /// The groups that were asked for; all, where none is named.
    only: Vec<String>,
    /// Nothing failed before the end.
    pub(crate) is_complete: bool,
    pub(crate) machine: Machine,
    rows: Vec<Row>,
    #[serde(skip)]
    latencies: Vec<Latencies>,
}

impl Report {
    pub(crate) fn new(quick: bool, only: Vec<String>) -> Self {
        Self {
            quick,
            only,
            is_complete: false,
            machine: Machine::this(),
            rows: Vec::new(),
            latencies: Vec::new(),
        }
    }

    /// A figure beside its yardstick. The bar is for the rounds' ratios.
    pub(crate) fn compared(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        yardstick: &'static str,
        rounds: Vec<Pair>,
        bar: Option<Bar>,
    ) {
        let ratio = Spread::of(rounds.iter().map(|(ours, theirs)| ours / theirs));
        self.add(Row {
            what: what.into(),
            unit,
            yardstick: Some(yardstick),
            ours: Spread::of(rounds.iter().map(|(ours, _)| *ours)),
            theirs: Some(Spread::of(rounds.iter().map(|(_, theirs)| *theirs))),
            ratio: Some(ratio),
            bar,
            met: bar.map(|bar| bar.is_met_by(ratio)),
            rounds,
        });
    }

    /// A figure alone. The bar is for the rounds.
    pub(crate) fn alone(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        rounds: Vec<f64>,
        bar: Option<Bar>,
    ) {
        let ours = Spread::of(rounds.iter().copied());
        self.add(Row {
            what: what.into(),
            unit,
            yardstick: None,
            ours,
            theirs: None,
            ratio: None,
            bar,
            met: bar.map(|bar| bar.is_met_by(ours)),
            rounds: rounds.into_iter().map(|value| (value, 0.0)).collect(),
        });
    }

    fn add(&mut self, row: Row) {
        // Progress: the whole takes minutes.
        eprintln!("{}", line(&row).join("  "));
        self.rows.push(row);
    }

    pub(crate) fn add_latencies(&mut self, what: impl Into<String>, sorted: Vec<Duration>) {
        self.latencies.push(Latencies {
            what: what.into(),
            sorted,
        });
    }

    pub(crate) fn latencies(&self) -> &[Latencies] {
        &self.latencies
    }

    /// Prints the table, as Markdown.
    pub(crate) fn print(&self) {
        let machine = &self.machine;
        println!(
            "{}, {} cores, load {} at the start; PostgreSQL {}, Redis {}; {}{}",
            machine.cpu,
            machine.cores,
            machine.load_at_start,
            machine.postgres,
            machine.redis,
            machine.started_at,
            if self.quick { "; --quick" } else { "" },
        );
        println!();
        println!("| what | ours | the yardstick | ratio: median (min, max) | bar | |");
        println!("| --- | --- | --- | --- | --- | --- |");
        for row in &self.rows {
            println!("| {} |", line(row).join(" | "));
        }
        println!();
        println!("{}", self.summary());
    }

    fn summary(&self) -> String {
        let mut sentences = Vec::new();
        if !self.is_complete {
            sentences.push(String::from("Incomplete."));
        }
        if !self.only.is_empty() {
            sentences.push(format!("Only {}.", self.only.join(", ")));
        }
        let judged = self.rows.iter().filter(|row| row.bar.is_some()).count();
        let missed = self.rows.iter().filter(|row| row.met == Some(false));
        let missed: Vec<String> = missed
            .map(|row| format!("{} ({})", row.what, row.yardstick.unwrap_or(row.unit)))
            .collect();
        sentences.push(format!("{} of {judged} bars are missed.", missed.len()));
        if !missed.is_empty() {
            sentences.push(format!("Missed: {}.", missed.join("; ")));
        }
        sentences.join(" ")
    }

    pub(crate) fn write_json(&self, path: &Path) -> Result<(), BenchError> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text).map_err(|source| BenchError::File {
            path: path.to_owned(),
            source,
        })
    }
}

fn line(row: &Row) -> [String; 6] {
    let ours = if row.ratio.is_none() && row.rounds.len() > 1 {
        format!(
            "{} {} ({}, {})",
            number(row.ours.median),
            row.unit,
            number(row.ours.min),
            number(row.ours.max)
        )
    } else {
        format!("{} {}", number(row.ours.median), row.unit)
    };
    [
        row.what.clone(),
        ours,
        row.theirs
            .zip(row.yardstick)
            .map_or_else(String::new, |(theirs, name)| {
                format!("{} {}: {name}", number(theirs.median), row.unit)
            }),
        row.ratio.map_or_else(String::new, |ratio| {
            format!("{:.2} ({:.2}, {:.2})", ratio.median, ratio.min, ratio.max)
        }),
        row.bar.map_or_else(String::new, Bar::text),
        match row.met {
            Some(true) => "met".to_owned(),
            Some(false) => "**missed**".to_owned(),
            None => String::new(),
        },
    ]
}

/// Three digits, or all before the point.
fn number(value: f64) -> String {
    if value.fract().abs() < f64::EPSILON || value.abs() >= 100.0 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Bar, Spread, number};

    #[test]
    fn the_middle_is_between_the_least_and_the_most() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 3.0));
    }

    #[test]
    fn a_bar_is_met_on_its_edge() {
        assert!(Bar::AtLeast(0.5).is_met_by(Spread::of([0.5])));
        assert!(!Bar::AtMost(1.3).is_met_by(Spread::of([1.31])));
        assert!(Bar::NeverOver(5.0).is_met_by(Spread::of([5.0])));
        assert!(Bar::Always(1.0).is_met_by(Spread::of([1.0, 1.0])));
    }

    #[test]
    fn one_round_misses_what_must_never_be() {
        let rounds = Spread::of([1.0, 2.0, 9.0]);
        assert!(Bar::AtMost(5.0).is_met_by(rounds));
        assert!(!Bar::NeverOver(5.0).is_met_by(rounds));
        assert!(!Bar::NeverOver(5.0).is_met_by(Spread::of([])));
        assert!(!Bar::NeverOver(5.0).is_met_by(Spread::of([1.0, f64::NAN])));
        assert!(!Bar::Always(1.0).is_met_by(Spread::of([1.0, 0.0, 1.0])));
        assert!(!Bar::Always(1.0).is_met_by(Spread::of([])));
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(0.512), "0.51");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(3.0), "3");
    }
}

//! Rows with their bars, printed as a Markdown table.

use crate::measure::Pair;

/// The value that a row has to have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    /// The median over the rounds.
    AtLeast(f64),
    /// The median over the rounds.
    AtMost(f64),
    /// Each round.
    NeverOver(f64),
    /// Each round.
    Exactly(f64),
    /// None. The figure explains others.
    Shown,
}

impl Bar {
    fn is_met_by(self, rounds: Spread) -> bool {
        match self {
            Self::AtLeast(limit) => rounds.median >= limit,
            Self::AtMost(limit) => rounds.median <= limit,
            Self::NeverOver(limit) => rounds.max <= limit,
            Self::Shown => true,
            Self::Exactly(value) => {
                (rounds.min - value).abs() < f64::EPSILON
                    && (rounds.max - value).abs() < f64::EPSILON
            }
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(limit) => format!(">= {}", number(limit)),
            Self::AtMost(limit) => format!("<= {}", number(limit)),
            Self::NeverOver(limit) => format!("always <= {}", number(limit)),
            Self::Exactly(value) => format!("always {}", number(value)),
            Self::Shown => String::new(),
        }
    }
}

/// The distribution of a figure, over rounds or operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) p99: f64,
    min: f64,
    max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: at(values.len() / 2),
            p99: at(values.len() * 99 / 100),
            min: at(0),
            max: at(values.len().saturating_sub(1)),
        }
    }
}

/// All rows of a run.
pub(crate) struct Report {
    heading: String,
    /// The cells of each row, and whether its bar is met.
    rows: Vec<([String; 6], bool)>,
}

impl Report {
    /// `servers` names the versions of PostgreSQL and Redis.
    pub(crate) fn new(servers: &str, quick: bool) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (processor, load) = (read("/proc/cpuinfo"), read("/proc/loadavg"));
        let processor = processor
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown processor", |(_, name)| name);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let load = load.split(' ').next().unwrap_or_default();
        let started_at = sqlx::types::chrono::Utc::now().format("%Y-%m-%d %H:%M UTC");
        let note = if quick { "; --quick" } else { "" };
        Self {
            heading: format!(
                "{processor}, {cores} cores, load {load} at the start; {servers}; {started_at}{note}"
            ),
            rows: Vec::new(),
        }
    }

    /// Adds a figure beside its yardstick. The bar applies to the rounds' ratios.
    pub(crate) fn compared(
        &mut self,
        what: impl Into<String>,
        unit: &str,
        yardstick: &str,
        rounds: &[Pair],
        bar: Bar,
    ) {
        let ours = Spread::of(rounds.iter().map(|(ours, _)| *ours));
        let theirs = Spread::of(rounds.iter().map(|(_, theirs)| *theirs));
        let ratio = Spread::of(rounds.iter().map(|(ours, theirs)| ours / theirs));
        let cells = [
            what.into(),
            format!("{} {unit}", number(ours.median)),
            format!("{} {unit}: {yardstick}", number(theirs.median)),
            format!("{:.2} ({:.2}, {:.2})", ratio.median, ratio.min, ratio.max),
        ];
        self.add(cells, bar, bar.is_met_by(ratio));
    }

    /// Adds a figure without a yardstick. The bar applies to the rounds.
    pub(crate) fn alone(
        &mut self,
        what: impl Into<String>,
        unit: &str,
        rounds: impl IntoIterator<Item = f64>,
        bar: Bar,
    ) {
        let ours = Spread::of(rounds);
        let [median, min, max] = [ours.median, ours.min, ours.max].map(number);
        let cells = [
            what.into(),
            format!("{median} {unit} ({min}, {max})"),
            String::new(),
            String::new(),
        ];
        self.add(cells, bar, bar.is_met_by(ours));
    }

    fn add(&mut self, [what, ours, theirs, ratio]: [String; 4], bar: Bar, is_met: bool) {
        let verdict = match bar {
            Bar::Shown => "",
            _ if is_met => "met",
            _ => "**missed**",
        };
        let cells = [what, ours, theirs, ratio, bar.text(), verdict.to_owned()];
        eprintln!("{}", cells.join("  "));
        self.rows.push((cells, is_met));
    }

    pub(crate) fn all_are_met(&self) -> bool {
        self.rows.iter().all(|(_, is_met)| *is_met)
    }

    pub(crate) fn print(&self) {
        println!("{}\n", self.heading);
        println!("| row | Tasker | yardstick | ratio: median (min, max) | bar | |");
        println!("| --- | --- | --- | --- | --- | --- |");
        for (cells, _) in &self.rows {
            println!("| {} |", cells.join(" | "));
        }
        let missed = self.rows.iter().filter(|(_, is_met)| !is_met).count();
        let bars = self.rows.iter().filter(|(cells, _)| !cells[4].is_empty());
        println!("\n{missed} of {} bars are missed.", bars.count());
    }
}

/// Three digits, or all before the point, in groups of three.
fn number(value: f64) -> String {
    let is_whole = value.fract().abs() < f64::EPSILON;
    match value.abs() {
        large if is_whole || large >= 100.0 => {
            let digits = format!("{value:.0}");
            let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().collect();
            String::from_utf8_lossy(&groups.join(&b',')).into_owned()
        }
        medium if medium >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bar, Spread, number};

    #[test]
    fn a_bar_is_met_on_its_edge() {
        assert!(Bar::AtLeast(0.5).is_met_by(Spread::of([0.5])));
        assert!(!Bar::AtMost(1.3).is_met_by(Spread::of([1.31])));
        assert!(Bar::NeverOver(5.0).is_met_by(Spread::of([5.0])));
        assert!(Bar::Exactly(1.0).is_met_by(Spread::of([1.0, 1.0])));
    }

    #[test]
    fn one_round_misses_a_bar_for_each_round() {
        let rounds = Spread::of([1.0, 2.0, 9.0]);
        assert!(Bar::AtMost(5.0).is_met_by(rounds));
        assert!(!Bar::NeverOver(5.0).is_met_by(rounds));
        assert!(!Bar::NeverOver(5.0).is_met_by(Spread::of([])));
        assert!(!Bar::NeverOver(5.0).is_met_by(Spread::of([1.0, f64::NAN])));
        assert!(!Bar::Exactly(1.0).is_met_by(Spread::of([1.0, 0.0, 1.0])));
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(123.4), "123");
        assert_eq!(number(0.512), "0.51");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(3.0), "3");
    }
}

//! Lines of a report, and the bars that a run misses.

use std::fmt::{self, Display};
use std::time::Duration;

use tasker_test_support::Exited;

use crate::fault::{Fault, Happened, Mode};

/// So many examples are printed of what was wrong.
pub(crate) const EXAMPLES: usize = 5;

/// All bars that were missed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Misses(pub(crate) Vec<Miss>);

/// A bar that was missed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Miss {
    text: String,
    /// A busy machine can be the reason.
    of_time: bool,
}

impl Misses {
    /// Notes a miss that a busy machine does not explain.
    pub(crate) fn wrong(&mut self, missed: bool, text: impl Into<String>) {
        if missed {
            let text = text.into();
            self.0.push(Miss {
                text,
                of_time: false,
            });
        }
    }

    /// Notes a miss if `value` is above `bar`. A busy machine explains it up to `ceiling`.
    pub(crate) fn above(&mut self, value: f64, bar: f64, ceiling: f64, text: &str) {
        if value > bar {
            let text = format!("{value:.1} {text}");
            let of_time = value <= ceiling;
            self.0.push(Miss { text, of_time });
        }
    }

    /// Prints how many processes ended by themselves. Each is a miss.
    pub(crate) fn lost(&mut self, lost: &[Exited]) {
        println!("\nprocesses that ended by themselves");
        line("in all", lost.len());
        for error in lost {
            self.wrong(true, error.to_string());
        }
    }

    /// Prints how often a rule was broken, with examples. That is a miss.
    pub(crate) fn rule<T>(
        &mut self,
        rule: impl Display,
        broken: impl Iterator<Item = T> + Clone,
        example: impl Fn(T),
    ) {
        let count = broken.clone().count();
        self.wrong(count > 0, format!("{count} x {rule}"));
        line(rule, count);
        broken.take(EXAMPLES).for_each(example);
    }

    /// Returns true unless a bar was missed that counts. Without `times_count`, times count only
    /// past their ceiling.
    pub(crate) fn hold(&self, times_count: bool) -> bool {
        self.0.iter().all(|miss| miss.of_time && !times_count)
    }

    /// Prints the result of a run with this seed; returns true if nothing was missed.
    pub(crate) fn conclude(&self, seed: u64) -> bool {
        println!("\n{self}\nseed {seed}");
        self.0.is_empty()
    }
}

impl Display for Misses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|miss| miss.text.as_str()).collect();
        match texts[..] {
            [] => f.write_str("met"),
            _ => write!(f, "**missed**: {}", texts.join(", ")),
        }
    }
}

/// Prints how often each fault of a mode happened.
pub(crate) fn faults(mode: Mode, happened: &[Happened]) {
    println!("\nfaults");
    for fault in Fault::all(mode) {
        let happened = happened.iter().filter(|it| it.fault == fault);
        line(fault.label(), happened.count());
    }
}

/// Prints one figure.
pub(crate) fn line(label: impl Display, value: impl Display) {
    println!("  {label:<52}{value:>12}");
}

/// Returns a percentile, in per mille, of ascending nanoseconds: as milliseconds.
pub(crate) fn percentile(ascending: &[u64], per_mille: usize) -> String {
    let Some(last) = ascending.len().checked_sub(1) else {
        return String::from("-");
    };
    let duration = Duration::from_nanos(ascending[last * per_mille / 1000]);
    format!("{:.1}", 1000.0 * duration.as_secs_f64())
}

//! Lines of a report, and the bars that a run misses.

use std::fmt::Display;
use std::time::Duration;

/// A bar that was missed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Miss {
    pub(crate) text: String,
    /// A busy machine can be the reason.
    pub(crate) of_time: bool,
}

/// All bars that were missed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Misses(pub(crate) Vec<Miss>);

impl Misses {
    /// Notes a miss that a busy machine does not explain.
    pub(crate) fn wrong(&mut self, missed: bool, text: impl Into<String>) {
        self.note(missed, false, text.into());
    }

    /// Notes a miss if `value` is above `bar`. A busy machine explains it up to `ceiling`.
    pub(crate) fn above<T: PartialOrd + Copy>(
        &mut self,
        value: T,
        bar: T,
        ceiling: T,
        text: String,
    ) {
        self.note(value > bar, value <= ceiling, text);
    }

    fn note(&mut self, missed: bool, of_time: bool, text: String) {
        if missed {
            self.0.push(Miss { text, of_time });
        }
    }

    /// Returns true unless a bar was missed that counts. With `times_count` unset, times count only
    /// past their ceiling.
    pub(crate) fn hold(&self, times_count: bool) -> bool {
        self.0.iter().all(|miss| miss.of_time && !times_count)
    }

    /// Returns true if a busy machine can be the reason of everything that was missed.
    pub(crate) fn are_of_time(&self) -> bool {
        self.0.iter().all(|miss| miss.of_time)
    }

    /// Prints all misses and the result of a run with this seed; returns true if nothing was missed.
    pub(crate) fn conclude(&self, seed: u64) -> bool {
        for miss in &self.0 {
            println!("**missed**: {}", miss.text);
        }
        let held = self.0.is_empty();
        println!("\n{} (seed {seed})", if held { "held" } else { "NOT held" });
        held
    }
}

/// Prints one figure.
pub(crate) fn line(label: &str, value: impl Display) {
    println!("  {label:<52}{value:>12}");
}

/// Returns milliseconds with one decimal.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

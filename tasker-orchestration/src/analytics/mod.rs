//! Figures on finished tasks and on steps: their speed, their failures, and advice.
//!
//! PostgreSQL keeps sums by the hour (migration `0010`), which [`crate::upkeep`] moves on. An answer
//! is the sums and the rows that are newer than they are. [`AnalyticsCache`] keeps answers in the
//! distributed cache.

mod bottlenecks;
mod cached;
mod performance;
mod recommendations;

pub(crate) use bottlenecks::{BottleneckAnalysis, bottlenecks};
pub(crate) use cached::{AnalyticsCache, CachedAnswer};
pub(crate) use performance::{PerformanceMetrics, performance};

/// The limit for computing one answer.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

#[expect(clippy::cast_precision_loss, reason = "counts of tasks are below 2^52")]
fn float(count: i64) -> f64 {
    count as f64
}

/// Returns `part` of `whole`, from 0 to 1; 0 of nothing.
fn share(part: i64, whole: i64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        (float(part) / float(whole) * 10_000.0).round() / 10_000.0
    }
}

/// Returns `sum` divided by `count`, with six decimals; 0 without a count.
fn mean(sum: f64, count: i64) -> f64 {
    if count == 0 {
        0.0
    } else {
        (sum / float(count) * 1_000_000.0).round() / 1_000_000.0
    }
}

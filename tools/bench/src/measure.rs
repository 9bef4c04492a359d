//! Load, and rounds in which our figure and its yardstick take turns.

use std::iter::StepBy;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;

/// The size of a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
}

impl Effort {
    pub(crate) fn new(quick: bool) -> Self {
        Self {
            rounds: if quick { 3 } else { 15 },
            quick,
        }
    }

    /// Returns the number of rounds for measurements that take seconds each.
    pub(crate) fn few_rounds(self) -> usize {
        if self.quick { 2 } else { 5 }
    }

    /// Returns `count`, or a quarter of it.
    pub(crate) fn of(self, count: usize) -> usize {
        if self.quick { count.div_ceil(4) } else { count }
    }
}

/// The operations of one of several concurrent callers, by number.
pub(crate) type Numbers = StepBy<Range<usize>>;

/// Runs the operations of `numbers` with so many concurrent callers, and returns the operations per
/// second. Each caller has a handle of its own to what is `shared`, so that no count of references is
/// a part of an operation.
pub(crate) async fn rate<T, F, Fut>(
    concurrency: usize,
    numbers: Range<usize>,
    shared: &Arc<T>,
    caller: F,
) -> Result<f64>
where
    F: Fn(Arc<T>, Numbers) -> Fut,
    Fut: Future<Output = Result> + Send + 'static,
{
    let started = Instant::now();
    let callers: Vec<_> = (0..concurrency)
        .map(|first| {
            let numbers = (numbers.start + first..numbers.end).step_by(concurrency);
            tokio::spawn(caller(Arc::clone(shared), numbers))
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    Ok(numbers.len() as f64 / started.elapsed().as_secs_f64())
}

pub(crate) fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Our figure of one round, and the yardstick's.
pub(crate) type Pair = (f64, f64);

/// Measures both in turns; the one that begins changes each round. The first round warms up and is
/// dropped.
pub(crate) async fn rounds(
    rounds: usize,
    mut ours: impl AsyncFnMut() -> Result<f64>,
    mut yardstick: impl AsyncFnMut() -> Result<f64>,
) -> Result<Vec<Pair>> {
    let mut pairs = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        let pair = if round % 2 == 0 {
            let first = ours().await?;
            (first, yardstick().await?)
        } else {
            let first = yardstick().await?;
            (ours().await?, first)
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

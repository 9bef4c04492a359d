//! Load, and rounds in which two figures take turns.

use std::time::{Duration, Instant};

use crate::error::BenchError;

/// How much is done for one figure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    quick: bool,
}

impl Effort {
    pub(crate) fn new(quick: bool) -> Self {
        Self {
            rounds: if quick { 3 } else { 15 },
            quick,
        }
    }

    /// Rounds of what takes long.
    pub(crate) fn few_rounds(self) -> usize {
        if self.quick { 2 } else { 5 }
    }

    /// `count`, or a part of it.
    pub(crate) fn of(self, count: usize) -> usize {
        if self.quick { count.div_ceil(4) } else { count }
    }
}

/// Does `operations` operations, `concurrency` at a time, each with its number. Answers how long
/// it took.
pub(crate) async fn load<F, Fut>(
    concurrency: usize,
    operations: usize,
    operation: F,
) -> Result<Duration, BenchError>
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), BenchError>> + Send,
{
    let started = Instant::now();
    let mut tasks = Vec::with_capacity(concurrency);
    for first in 0..concurrency {
        let operation = operation.clone();
        tasks.push(tokio::spawn(async move {
            for number in (first..operations).step_by(concurrency) {
                operation(number).await?;
            }
            Ok::<_, BenchError>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(started.elapsed())
}

/// How long each of `operations` operations took, `concurrency` at a time.
pub(crate) async fn latencies<F, Fut>(
    concurrency: usize,
    operations: usize,
    operation: F,
) -> Result<Vec<Duration>, BenchError>
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), BenchError>> + Send,
{
    let mut tasks = Vec::with_capacity(concurrency);
    for first in 0..concurrency {
        let operation = operation.clone();
        tasks.push(tokio::spawn(async move {
            let mut took = Vec::with_capacity(operations / concurrency + 1);
            for number in (first..operations).step_by(concurrency) {
                let started = Instant::now();
                operation(number).await?;
                took.push(started.elapsed());
            }
            Ok::<_, BenchError>(took)
        }));
    }
    let mut all = Vec::with_capacity(operations);
    for task in tasks {
        all.extend(task.await??);
    }
    all.sort_unstable();
    Ok(all)
}

/// Operations a second.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) fn rate(operations: usize, took: Duration) -> f64 {
    operations as f64 / took.as_secs_f64()
}

/// Milliseconds.
pub(crate) fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// One round: a figure of ours and its yardstick's.
pub(crate) type Pair = (f64, f64);

/// Measures both in turn, and who is first changes each round. The first round warms up.
pub(crate) async fn rounds<Ours, Yard, OursFut, YardFut>(
    rounds: usize,
    mut ours: Ours,
    mut yardstick: Yard,
) -> Result<Vec<Pair>, BenchError>
where
    Ours: FnMut() -> OursFut,
    Yard: FnMut() -> YardFut,
    OursFut: Future<Output = Result<f64, BenchError>>,
    YardFut: Future<Output = Result<f64, BenchError>>,
{
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

//! Advice that follows from the figures.

use super::bottlenecks::BottleneckAnalysis;

/// Failed attempts of a step from which on it is mentioned.
const MANY_FAILURES: f64 = 0.2;
/// The use of workers from which on more are recommended.
const BUSY: f64 = 0.9;
/// The use of connections from which on more are recommended.
const BUSY_POOL: f64 = 0.9;
/// The age of a waiting step from which on it is mentioned, in seconds.
const LONG_WAIT: f64 = 60.0;

/// Returns sentences for operators. None if nothing is conspicuous.
pub(super) fn of(analysis: &BottleneckAnalysis) -> Vec<String> {
    let mut sentences = Vec::new();
    let used = &analysis.resource_utilization;
    if analysis.missing_hours > 0 {
        sentences.push(format!(
            "The lists lack {} hours that are not summed yet: ask again in some minutes.",
            analysis.missing_hours
        ));
    }
    if used.waiting_steps > 0 && used.live_workers == 0 {
        sentences.push(format!(
            "{} steps wait and no worker lives: start a worker.",
            used.waiting_steps
        ));
    } else if used.oldest_waiting_seconds > LONG_WAIT {
        sentences.push(format!(
            "A step has waited for {:.0} s: /v1/queue shows whether a worker has its handler.",
            used.oldest_waiting_seconds
        ));
    }
    if used.worker_utilization >= BUSY {
        sentences.push(format!(
            "Workers run {:.0} % of the steps that they can run at once: add workers, or raise \
             their concurrency.",
            used.worker_utilization * 100.0
        ));
    }
    if used.database_pool_utilization >= BUSY_POOL {
        sentences.push(String::from(
            "Nearly all connections of this process are in use: raise common.database.pool.",
        ));
    }
    for step in &analysis.slow_steps {
        if step.error_rate >= MANY_FAILURES {
            sentences.push(format!(
                "The step {} of {}/{}/{} fails in {:.0} % of its attempts.",
                step.step_name,
                step.namespace_name,
                step.task_name,
                step.version,
                step.error_rate * 100.0
            ));
        }
    }
    sentences
}

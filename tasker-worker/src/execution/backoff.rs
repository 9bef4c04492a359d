//! The pause before a failed step runs again.

use std::time::Duration;

use tasker_shared::models::core::task_template::{BackoffStrategy, RetryConfiguration};

/// Returns the pause after the `attempt`-th counted attempt, from 1, without jitter.
fn pause(retry: &RetryConfiguration, attempt: u32) -> Duration {
    let base = retry.backoff_base_ms;
    let factor = match retry.backoff {
        BackoffStrategy::None => 0,
        BackoffStrategy::Linear => u64::from(attempt),
        BackoffStrategy::Exponential => 1_u64
            .checked_shl(attempt.saturating_sub(1))
            .unwrap_or(u64::MAX),
        BackoffStrategy::Fibonacci => fibonacci(attempt),
    };
    Duration::from_millis(base.saturating_mul(factor).min(retry.max_backoff_ms))
}

fn fibonacci(n: u32) -> u64 {
    let (mut last, mut next) = (0_u64, 1_u64);
    for _ in 0..n {
        (last, next) = (next, last.saturating_add(next));
    }
    last
}

/// Returns the pause with 10 % of jitter, so that steps that failed together do not return together.
pub(super) fn with_jitter(retry: &RetryConfiguration, attempt: u32) -> Duration {
    pause(retry, attempt).mul_f64(rand::random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use tasker_shared::models::core::task_template::{BackoffStrategy, RetryConfiguration};

    use super::{pause, with_jitter};

    fn pauses(backoff: BackoffStrategy) -> Vec<u128> {
        let retry = RetryConfiguration {
            backoff,
            backoff_base_ms: 100,
            max_backoff_ms: 700,
            ..RetryConfiguration::default()
        };
        (1..=5).map(|n| pause(&retry, n).as_millis()).collect()
    }

    #[test]
    fn each_strategy_grows_in_its_way_up_to_the_limit() {
        assert_eq!(pauses(BackoffStrategy::None), [0; 5]);
        assert_eq!(pauses(BackoffStrategy::Linear), [100, 200, 300, 400, 500]);
        assert_eq!(
            pauses(BackoffStrategy::Exponential),
            [100, 200, 400, 700, 700]
        );
        assert_eq!(
            pauses(BackoffStrategy::Fibonacci),
            [100, 100, 200, 300, 500]
        );
    }

    #[test]
    fn many_attempts_do_not_overflow() {
        let retry = RetryConfiguration::default();
        assert_eq!(pause(&retry, u32::MAX).as_millis(), 30_000);
    }

    #[test]
    fn jitter_is_at_most_a_tenth() {
        let retry = RetryConfiguration::default();
        for _ in 0..100 {
            let jittered = with_jitter(&retry, 1).as_millis();
            assert!((900..=1100).contains(&jittered), "{jittered}");
        }
    }
}

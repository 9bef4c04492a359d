//! Retries of failed steps.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Retries of a failed step. A missing or null key has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "RetryFields")]
#[schemars(!from, default)]
pub struct RetryConfiguration {
    /// Retry after a failed attempt. Default true.
    pub retryable: bool,
    /// The most attempts, the first one included. 0 still allows the first. Default 3.
    #[schemars(range(max = 2_147_483_647))]
    pub max_attempts: u32,
    /// The growth of the pause between attempts. Default exponential.
    pub backoff: BackoffStrategy,
    /// The first pause, in milliseconds. Default 1,000.
    #[schemars(range(max = 2_147_483_647))]
    pub backoff_base_ms: u64,
    /// The longest pause, in milliseconds. Default 30,000.
    #[schemars(range(max = 2_147_483_647))]
    pub max_backoff_ms: u64,
}

impl Default for RetryConfiguration {
    fn default() -> Self {
        Self {
            retryable: true,
            max_attempts: 3,
            backoff: BackoffStrategy::default(),
            backoff_base_ms: 1_000,
            max_backoff_ms: 30_000,
        }
    }
}

impl RetryConfiguration {
    /// Returns the pause after the `attempt`-th counted attempt, from 1, without jitter.
    #[must_use]
    pub fn pause(&self, attempt: u32) -> Duration {
        let factor = match self.backoff {
            BackoffStrategy::None => 0,
            BackoffStrategy::Linear => u64::from(attempt),
            BackoffStrategy::Exponential => 1_u64
                .checked_shl(attempt.saturating_sub(1))
                .unwrap_or(u64::MAX),
            BackoffStrategy::Fibonacci => fibonacci(attempt),
        };
        let grown = self.backoff_base_ms.saturating_mul(factor);
        Duration::from_millis(grown.min(self.max_backoff_ms))
    }
}

fn fibonacci(n: u32) -> u64 {
    let (mut last, mut next) = (0_u64, 1_u64);
    for _ in 0..n {
        (last, next) = (next, last.saturating_add(next));
        if last == u64::MAX {
            break;
        }
    }
    last
}

/// The growth of the pause between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackoffStrategy {
    /// No pause.
    None,
    /// The base is added each time.
    Linear,
    /// The pause doubles each time.
    #[default]
    Exponential,
    /// The pause follows the Fibonacci numbers.
    Fibonacci,
}

/// The keys as they are written, where each may be missing or null.
#[derive(Deserialize)]
struct RetryFields {
    retryable: Option<bool>,
    max_attempts: Option<u32>,
    backoff: Option<BackoffStrategy>,
    backoff_base_ms: Option<u64>,
    max_backoff_ms: Option<u64>,
}

impl From<RetryFields> for RetryConfiguration {
    fn from(fields: RetryFields) -> Self {
        let default = Self::default();
        Self {
            retryable: fields.retryable.unwrap_or(default.retryable),
            max_attempts: fields.max_attempts.unwrap_or(default.max_attempts),
            backoff: fields.backoff.unwrap_or(default.backoff),
            backoff_base_ms: fields.backoff_base_ms.unwrap_or(default.backoff_base_ms),
            max_backoff_ms: fields.max_backoff_ms.unwrap_or(default.max_backoff_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BackoffStrategy, RetryConfiguration};

    fn pauses(backoff: BackoffStrategy) -> Vec<u128> {
        let retry = RetryConfiguration {
            backoff,
            backoff_base_ms: 100,
            max_backoff_ms: 700,
            ..RetryConfiguration::default()
        };
        (1..=5).map(|n| retry.pause(n).as_millis()).collect()
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
        for backoff in [BackoffStrategy::Exponential, BackoffStrategy::Fibonacci] {
            let retry = RetryConfiguration {
                backoff,
                ..RetryConfiguration::default()
            };
            assert_eq!(retry.pause(u32::MAX).as_millis(), 30_000);
        }
    }

    #[test]
    fn keys_that_are_missing_or_null_have_their_defaults() {
        let retry: RetryConfiguration =
            serde_json::from_str(r#"{"max_attempts": 0, "backoff": "linear", "retryable": null}"#)
                .unwrap();
        assert_eq!(
            retry,
            RetryConfiguration {
                max_attempts: 0,
                backoff: BackoffStrategy::Linear,
                ..RetryConfiguration::default()
            }
        );
    }
}

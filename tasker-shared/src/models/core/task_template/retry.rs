//! Retries of failed steps.

use serde::{Deserialize, Serialize};

/// Retries of a failed step. A missing or null key has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RetryFields")]
pub struct RetryConfiguration {
    /// Retry after a failed attempt. Default true.
    pub retryable: bool,
    /// The most attempts, the first one included. 0 still allows the first. Default 3.
    pub max_attempts: u32,
    /// The growth of the pause between attempts. Default exponential.
    pub backoff: BackoffStrategy,
    /// The first pause, in milliseconds. Default 1,000.
    pub backoff_base_ms: u64,
    /// The longest pause, in milliseconds. Default 30,000.
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

/// The growth of the pause between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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

impl BackoffStrategy {
    /// As authors write them.
    pub(super) const NAMES: &[&str] = &["none", "linear", "exponential", "fibonacci"];
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

    #[test]
    fn every_listed_name_is_a_strategy() {
        for name in BackoffStrategy::NAMES {
            let strategy: BackoffStrategy = serde_json::from_value((*name).into()).unwrap();
            assert_eq!(serde_json::to_value(strategy).unwrap(), *name);
        }
    }
}

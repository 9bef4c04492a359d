//! The pause before a failed step runs again.

use std::time::Duration;

use tasker_shared::models::core::task_template::RetryConfiguration;

/// Returns the pause with 10 % of jitter, so that steps that failed together do not return together.
pub(super) fn with_jitter(retry: &RetryConfiguration, attempt: u32) -> Duration {
    retry.pause(attempt).mul_f64(rand::random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use tasker_shared::models::core::task_template::RetryConfiguration;

    use super::with_jitter;

    #[test]
    fn jitter_is_at_most_a_tenth() {
        let retry = RetryConfiguration::default();
        for _ in 0..100 {
            let jittered = with_jitter(&retry, 1).as_millis();
            assert!((900..=1100).contains(&jittered), "{jittered}");
        }
    }
}

//! Retries in words.

use std::fmt::Write as _;
use std::time::Duration;

use tasker_templates::RetryConfiguration;

/// Pauses that are listed; later ones are summed up.
const LISTED: u32 = 6;

/// Returns the attempts and the pauses between them.
pub(super) fn sentence(retry: &RetryConfiguration) -> String {
    let attempts = attempts(retry);
    if attempts == 1 {
        return String::from("1 attempt, no retry");
    }
    let pauses: Vec<String> = pauses(retry).map(duration).collect();
    let mut text = format!(
        "{attempts} attempts, with pauses of about {}",
        pauses.join(", ")
    );
    if attempts - 1 > LISTED {
        let longest = duration(Duration::from_millis(retry.max_backoff_ms));
        let _ = write!(text, ", … (at most {longest})");
    }
    text
}

/// Returns the most attempts that a step has. The first is always allowed.
pub(super) fn attempts(retry: &RetryConfiguration) -> u32 {
    if retry.retryable {
        retry.max_attempts.max(1)
    } else {
        1
    }
}

/// Returns the first pauses, without jitter.
pub(super) fn pauses(retry: &RetryConfiguration) -> impl Iterator<Item = Duration> {
    let last = (attempts(retry) - 1).min(LISTED);
    (1..=last).map(|attempt| retry.pause(attempt))
}

/// Returns a duration in the largest unit that shows it well.
pub(super) fn duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => String::from("0 s"),
        1..1_000 => format!("{ms} ms"),
        1_000..60_000 if ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        1_000..60_000 => format!("{:.1} s", duration.as_secs_f64()),
        60_000..3_600_000 if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use tasker_templates::{BackoffStrategy, RetryConfiguration};

    use super::sentence;

    #[test]
    fn attempts_and_pauses_are_sentences() {
        let retry = RetryConfiguration::default();
        assert_eq!(
            sentence(&retry),
            "3 attempts, with pauses of about 1 s, 2 s"
        );
        let once = RetryConfiguration {
            max_attempts: 0,
            ..retry.clone()
        };
        assert_eq!(sentence(&once), "1 attempt, no retry");
        let never = RetryConfiguration {
            retryable: false,
            ..retry.clone()
        };
        assert_eq!(sentence(&never), "1 attempt, no retry");
        let many = RetryConfiguration {
            max_attempts: 20,
            backoff: BackoffStrategy::Linear,
            backoff_base_ms: 500,
            max_backoff_ms: 90_000,
            ..retry
        };
        assert_eq!(
            sentence(&many),
            "20 attempts, with pauses of about 500 ms, 1 s, 1.5 s, 2 s, 2.5 s, 3 s, … (at most 1 min 30 s)"
        );
    }
}

//! What the directory tells about itself to operators.

use std::time::Duration;

use super::index::TemplateIndex;

/// How old the directory of one process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexStatus {
    /// Registered templates that it knows.
    pub templates: usize,
    /// Time since the last successful poll was sent; `None` before the first.
    pub age: Option<Duration>,
    /// `max_staleness_ms`.
    pub max_age: Duration,
    /// Whether resolves may use it without a poll of their own. With a bound of zero each waits
    /// for one, and this is whether there was one that succeeded.
    pub within_bound: bool,
}

impl IndexStatus {
    pub(super) fn of(directory: &TemplateIndex) -> Self {
        let age = directory.age();
        Self {
            templates: directory.snapshot().len(),
            age,
            max_age: directory.max_staleness(),
            within_bound: if directory.is_linearizable() {
                age.is_some()
            } else {
                directory.is_fresh()
            },
        }
    }
}

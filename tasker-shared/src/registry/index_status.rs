//! The state of the template index, for operators.

use std::time::Duration;

use super::index::TemplateIndex;

/// The size and the age of one process' template index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexStatus {
    /// The number of templates in it.
    pub templates: usize,
    /// Time since the last successful poll was sent; `None` before the first.
    pub age: Option<Duration>,
    /// `max_staleness_ms`.
    pub max_age: Duration,
    /// True if resolves may use it without a poll of their own. With a bound of zero each resolve
    /// waits for a poll, and this is true if one has succeeded.
    pub within_bound: bool,
}

impl IndexStatus {
    pub(super) fn of(index: &TemplateIndex) -> Self {
        let age = index.age();
        Self {
            templates: index.snapshot().len(),
            age,
            max_age: index.max_staleness(),
            within_bound: if index.is_linearizable() {
                age.is_some()
            } else {
                index.is_fresh()
            },
        }
    }
}

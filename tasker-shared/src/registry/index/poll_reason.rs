//! The reasons for polls, as metrics name them.

/// The reason for a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum PollReason {
    Start,
    Timer,
    Notified,
    Stale,
    UnknownName,
    Written,
}

impl PollReason {
    /// Returns a label for metrics.
    pub(super) fn label(self) -> &'static str {
        self.into()
    }
}

//! The reasons for polls, as metrics name them.

/// The reason for a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Timer => "timer",
            Self::Notified => "notified",
            Self::Stale => "stale",
            Self::UnknownName => "unknown_name",
            Self::Written => "written",
        }
    }
}

//! A look at entries without reading all of them.

use std::time::Duration;

/// What a look at an entry shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// The beginning of the value; what is no UTF-8 is replaced.
    pub head: String,
    /// When the entry expires; `None` when it does not.
    pub expires_in: Option<Duration>,
}

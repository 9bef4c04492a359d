//! What reading a template may cost.

/// Levels of nesting in a document. What is stored has to be readable by JSON readers, whose own
/// limit is 100 or so.
pub(super) const MAX_DEPTH: usize = 64;

/// What reading a YAML document may cost. One that would cost more is refused, and early.
///
/// Nesting is limited too, to 64 levels, and the number of scalars, lists, mappings and keys, to
/// 100,000; what an alias stands for counts each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateLimits {
    /// Bytes of the file, and bytes that its aliases may add. Default 1 MiB.
    pub max_bytes: u64,
    pub(super) max_nodes: usize,
}

impl TemplateLimits {
    /// The limits for a file of at most `max_bytes`.
    #[must_use]
    pub const fn with_max_bytes(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            max_nodes: 100_000,
        }
    }
}

impl Default for TemplateLimits {
    fn default() -> Self {
        Self::with_max_bytes(1024 * 1024)
    }
}

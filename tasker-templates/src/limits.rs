//! Limits on reading a template.

/// Levels of nesting in a document. JSON readers have limits of about 100, and they must be able to
/// read each stored document.
pub(super) const MAX_DEPTH: usize = 64;

/// Limits on reading a YAML document. A document that exceeds one is refused early.
///
/// Nesting is limited to 64 levels, and the number of scalars, lists, mappings and keys to
/// 100,000. The value of an alias counts each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateLimits {
    /// Bytes of the file, and bytes that its aliases may add. Default 1 MiB.
    pub max_bytes: u64,
    pub(super) max_nodes: usize,
}

impl TemplateLimits {
    /// Returns the limits for a file of at most `max_bytes`.
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

//! The limits on a document while it is read.

use crate::TemplateLimits;
use crate::problem::ProblemKind;

/// Counts the values and bytes that were read, with the values of aliases.
#[derive(Debug)]
pub(super) struct Budget {
    limits: TemplateLimits,
    nodes: usize,
    bytes: u64,
    alias_bytes: u64,
}

/// The size of a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Number of scalars, lists, mappings and keys, the value itself included.
    pub(super) nodes: usize,
    /// Bytes in its scalars and keys.
    pub(super) bytes: u64,
    /// Levels of nesting, 0 for a scalar.
    pub(super) height: usize,
}

/// The counts at one moment of the reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    nodes: usize,
    bytes: u64,
}

impl Size {
    pub(super) fn of_scalar(text: &str) -> Self {
        Self {
            nodes: 1,
            bytes: text.len() as u64,
            height: 0,
        }
    }
}

impl Budget {
    pub(super) fn new(limits: TemplateLimits) -> Self {
        Self {
            limits,
            nodes: 0,
            bytes: 0,
            alias_bytes: 0,
        }
    }

    /// Returns the current counts, for [`Self::size_since`].
    pub(super) fn now(&self) -> Moment {
        Moment {
            nodes: self.nodes,
            bytes: self.bytes,
        }
    }

    /// Returns the size of all that was read since `start`.
    pub(super) fn size_since(&self, start: Moment, height: usize) -> Size {
        Size {
            nodes: self.nodes - start.nodes,
            bytes: self.bytes - start.bytes,
            height,
        }
    }

    pub(super) fn spend_nodes(&mut self, nodes: usize) -> Result<(), ProblemKind> {
        self.nodes += nodes;
        let limit = self.limits.max_nodes;
        if self.nodes > limit {
            return Err(ProblemKind::TooManyNodes { limit });
        }
        Ok(())
    }

    /// Counts one scalar. The file's size bounds these bytes.
    pub(super) fn spend_scalar(&mut self, text: &str) -> Result<(), ProblemKind> {
        self.bytes += text.len() as u64;
        self.spend_nodes(1)
    }

    /// Counts the value of an alias.
    pub(super) fn spend_alias(&mut self, size: Size) -> Result<(), ProblemKind> {
        self.bytes += size.bytes;
        self.alias_bytes += size.bytes;
        let limit = self.limits.max_bytes;
        if self.alias_bytes > limit {
            return Err(ProblemKind::AliasesTooLarge { limit });
        }
        self.spend_nodes(size.nodes)
    }
}

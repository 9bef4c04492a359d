//! What a document has cost so far.

use crate::models::core::task_template::TemplateLimits;
use crate::models::core::task_template::problem::ProblemKind;

/// What a document has cost so far, with everything that its aliases stand for.
#[derive(Debug)]
pub(super) struct Budget {
    limits: TemplateLimits,
    nodes: usize,
    bytes: u64,
    alias_bytes: u64,
}

/// How large a value is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Scalars, lists, mappings and keys, the value itself among them.
    pub(super) nodes: usize,
    /// Of its scalars' and keys' text.
    pub(super) bytes: u64,
    /// Levels of nesting, 0 for a scalar.
    pub(super) height: usize,
}

/// A moment of the reading.
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

    /// Before a list or mapping is counted.
    pub(super) fn now(&self) -> Moment {
        Moment {
            nodes: self.nodes,
            bytes: self.bytes,
        }
    }

    /// The size of what was read since `start`, of this height.
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

    /// Counts one scalar that is written out. The file's own size bounds these bytes.
    pub(super) fn spend_scalar(&mut self, text: &str) -> Result<(), ProblemKind> {
        self.bytes += text.len() as u64;
        self.spend_nodes(1)
    }

    /// Counts what an alias stands for.
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

//! Handlers, one module per subject.

pub(super) mod templates;

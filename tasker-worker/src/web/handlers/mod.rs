//! Handlers, one module a subject.

pub(super) mod templates;

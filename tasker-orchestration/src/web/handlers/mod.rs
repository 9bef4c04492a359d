//! Handlers, one module per resource.

pub(super) mod cache;
pub(super) mod retirement;
pub(super) mod tasks;
pub(super) mod templates;

//! One module a resource.

pub(super) mod cache;
pub(super) mod tasks;
pub(super) mod templates;

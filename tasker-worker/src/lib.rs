//! Tasker's worker service: registers the template files that it finds at boot, and serves templates
//! with the overrides of its environment over HTTP.
//!
//! Registering, resolving and distributed caching are in the registry of `tasker-shared`. HTTP routes
//! that are not about templates are in `tasker-web`.
//!
//! Start reading at [`worker::TaskTemplateManager`]; [`service`] assembles the parts.

pub mod service;
pub mod web;
pub mod worker;

//! Tasker's worker service: it registers the task templates that it finds at boot, and answers
//! over HTTP what templates look like in its environment and what its caches hold.
//!
//! What is not here: registering, resolving and distributed caching are the registry's, in
//! `tasker-shared`; so is every HTTP route that is not about templates.
//!
//! Start reading at [`worker::TaskTemplateManager`]; [`service`] puts the parts together.

pub mod service;
pub mod web;
pub mod worker;

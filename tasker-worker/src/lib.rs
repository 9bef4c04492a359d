//! Tasker's worker service: registers the template files that it finds at boot, and serves templates
//! with the overrides of its environment over HTTP.
//!
//! Registering, resolving and distributed caching are in the registry of `tasker-shared`. HTTP routes
//! that are not about templates are in `tasker-web`.
//!
//! Start reading at [`worker::TaskTemplateManager`]; [`service`] assembles the parts.

pub mod execution;
pub mod service;
pub mod web;
pub mod worker;

pub use execution::{Handlers, StepContext, StepError, StepHandler, StepOutcome, Worker};

/// Runs a worker process with these handlers, from its command line to its exit code.
///
/// ```no_run
/// use tasker_worker::{Handlers, StepContext};
///
/// fn main() -> std::process::ExitCode {
///     let greet = async |step: StepContext| {
///         Ok(serde_json::json!({"greeting": format!("Hello {}", step.input::<String>("name")?)}))
///     };
///     tasker_worker::run(Handlers::new().function("demo.Greet", greet))
/// }
/// ```
#[must_use]
pub fn run(handlers: Handlers) -> std::process::ExitCode {
    tasker_web::run_service(&service::INFO, |parts| service::start(parts, handlers))
}

/// The longest time that one query of this service may take, its wait for a connection included.
const QUERY_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

//! Task templates: reading, checking and typed access.
//!
//! A [`TemplateDocument`] is the author's document with all of its keys. A [`TaskTemplate`] is the
//! typed view of the keys that Tasker reads; it ignores unknown keys. [`apply_environment`] applies
//! the overrides of one environment to a document.
//!
//! This crate knows no files, database or cache, so that tools read and check templates without them.
//! `tasker-shared` has it as `models::core::task_template`.
//!
//! ```
//! use tasker_templates::{TemplateDocument, TemplateLimits};
//!
//! let yaml = b"
//! name: refund
//! namespace_name: payments
//! version: 1.0.0
//! steps:
//!   - name: pay_back
//!     handler: {callable: PayBack}
//! ";
//! let document = TemplateDocument::from_yaml(yaml, TemplateLimits::default())?;
//! assert_eq!(document.template().steps[0].name, "pay_back");
//! # Ok::<(), tasker_templates::TemplateError>(())
//! ```

mod callable;
mod document;
mod editor_schema;
mod environment;
mod errors;
pub mod expansion;
mod free_form;
pub mod identity_strategy;
pub mod input_schema;
mod limits;
mod path;
mod problem;
mod retry;
mod step;
mod step_graph;
mod suggestion;
mod template;
#[cfg(test)]
mod tests;
mod validation;
mod yaml;

pub use callable::queued_callable;
pub use document::TemplateDocument;
pub use editor_schema::json_schema;
pub use environment::apply_environment;
pub use errors::TemplateError;
pub use free_form::FreeForm;
pub use limits::TemplateLimits;
pub use problem::{Problem, ProblemKind};
pub use retry::{BackoffStrategy, RetryConfiguration};
pub use step::{BatchConfiguration, EventDeclaration, StepDefinition, StepType};
pub use step_graph::{StepEdge, StepEdgeKind};
pub use template::{DomainEventDefinition, HandlerDefinition, SystemDependencies, TaskTemplate};

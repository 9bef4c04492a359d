//! Task templates: what authors write, checked and typed.
//!
//! A [`TemplateDocument`] is the author's document with nothing lost. A [`TaskTemplate`] is the
//! typed view of the keys that Tasker itself reads; it ignores keys that it does not know.
//! [`apply_environment`] gives the document as one environment sees it.
//!
//! Nothing here knows of files, of PostgreSQL or of a cache, and nothing compiles an
//! `input_schema`.

mod document;
mod environment;
mod errors;
mod free_form;
mod limits;
mod path;
mod problem;
mod retry;
mod step;
mod suggestion;
mod template;
#[cfg(test)]
mod tests;
mod validation;
mod yaml;

pub use document::TemplateDocument;
pub use environment::apply_environment;
pub use errors::TemplateError;
pub use free_form::FreeForm;
pub use limits::TemplateLimits;
pub use problem::{Problem, ProblemKind};
pub use retry::{BackoffStrategy, RetryConfiguration};
pub use step::{BatchConfiguration, EventDeclaration, StepDefinition, StepType};
pub use template::{DomainEventDefinition, HandlerDefinition, SystemDependencies, TaskTemplate};

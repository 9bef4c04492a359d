//! Task templates: what authors write, checked and typed.
//!
//! A [`TemplateDocument`] is the author's document with nothing lost. A [`TaskTemplate`] is the
//! typed view of the keys that Tasker itself reads; it ignores keys that it does not know.

mod document;
mod template;

pub use document::{TemplateDocument, TemplateError};
pub use template::{HandlerDefinition, RetryConfiguration, StepDefinition, StepType, TaskTemplate};

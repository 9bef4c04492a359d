//! The template registry: registers, resolves and lists templates.
//!
//! [`TaskHandlerRegistry`] is the public face. `resolver` puts the tiers together, `index` knows
//! which document is current, `registration` writes, and `discovery` reads template files.

pub mod catalog;
mod comparison;
mod database_tier;
mod discovery;
mod errors;
pub mod history;
mod index;
mod index_status;
pub mod inspection;
mod load;
mod local_tier;
mod redis_tier;
mod registration;
mod resolution;
mod resolver;
mod source;
pub mod task_handler_registry;

pub use catalog::TemplateListing;
pub use discovery::{
    DiscoveryProblem, FoundTemplates, TaskTemplateDiscoveryResult, check_template_files,
};
pub use errors::RegistryError;
pub use index_status::IndexStatus;
pub use registration::{CheckedTemplate, RegistrationOutcome, RegistrationStatus};
pub use resolution::{Resolution, Tier};
pub use task_handler_registry::TaskHandlerRegistry;

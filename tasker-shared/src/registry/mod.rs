//! The template registry: registers, resolves and lists templates.
//!
//! [`TaskHandlerRegistry`] is the public face. [`resolver`] puts the tiers together, [`index`] knows
//! which document is current, [`registration`] writes, and [`discovery`] reads template files.

mod body;
mod body_slot;
mod comparison;
mod discovery;
mod distributed_tier;
mod errors;
mod flights;
mod index;
mod index_status;
pub mod inspection;
mod listing;
mod local_tier;
mod registration;
mod resolution;
mod resolve_metrics;
mod resolver;
mod retirement;
mod task_handler_registry;
mod tiers;

pub use discovery::{DiscoveryProblem, TaskTemplateDiscoveryResult};
pub use errors::RegistryError;
pub use index_status::IndexStatus;
pub use listing::TemplateListing;
pub use registration::{RegistrationOutcome, RegistrationStatus};
pub use resolution::{Resolution, Tier};
pub use task_handler_registry::TaskHandlerRegistry;

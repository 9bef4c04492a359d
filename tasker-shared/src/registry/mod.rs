//! The template registry: who is registered, what it holds, and how a resolve finds it.
//!
//! [`TaskHandlerRegistry`] is the way in. Inside, [`resolver`] is the one place that puts the
//! tiers together, and [`directory`] knows what is current.

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
mod known_files;
mod large_batch;
mod listing;
mod local_tier;
mod registration;
mod resolution;
mod resolve_metrics;
mod resolver;
mod retirement;
mod submission;
mod task_handler_registry;
mod template_files;
mod template_sources;
mod tiers;

pub use discovery::TaskTemplateDiscoveryResult;
pub use errors::RegistryError;
pub use index_status::IndexStatus;
pub use listing::RegisteredTemplate;
pub use registration::{Registration, RegistrationStatus};
pub use resolution::{Resolution, Tier};
pub use task_handler_registry::TaskHandlerRegistry;
pub use template_files::DiscoveryProblem;

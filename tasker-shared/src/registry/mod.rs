//! The template registry: who is registered, what it holds, and how a resolve finds it.

mod errors;
mod task_handler_registry;

pub use errors::RegistryError;
pub use task_handler_registry::{
    DiscoveryProblem, RegisteredTemplate, Registration, RegistrationStatus, TaskHandlerRegistry,
    TaskTemplateDiscoveryResult,
};

//! The template registry: who is registered, what it holds, and how a resolve finds it.

mod errors;
mod task_handler_registry;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the registry's discovery, built beside it, calls it"
    )
)]
mod template_files;

pub use errors::RegistryError;
pub use task_handler_registry::{
    DiscoveryProblem, RegisteredTemplate, Registration, RegistrationStatus, TaskHandlerRegistry,
    TaskTemplateDiscoveryResult,
};

//! The worker without HTTP: registers template files at boot, and resolves templates with the
//! overrides of its environment.

mod capabilities;
mod environment;
mod resolved_cache;
pub mod services;
pub mod task_template_manager;
mod template_directories;
mod template_discovery;
#[cfg(test)]
mod test_support;

pub use capabilities::{required_capabilities, worker_capabilities};
pub use resolved_cache::{Lookup, ResolvedTemplate};
pub use task_template_manager::TaskTemplateManager;
pub use template_directories::{
    TEMPLATE_PATH_VARIABLE, TemplateDirectories, TemplateDirectoryError,
};
pub use template_discovery::{DiscoveryError, DiscoverySummary};

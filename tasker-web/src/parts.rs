//! The parts that a running service's routes share.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde::Serialize;
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::{TaskerConfig, WebConfig};
use tokio::sync::watch;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::lifecycle::Lifecycle;
use crate::trigger_watch::TriggerWatch;

/// The name of a service and its HTTP configuration.
#[derive(Debug)]
pub struct ServiceInfo {
    /// The name of the program.
    pub name: &'static str,
    /// The release.
    pub version: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Selects the service's part of the configuration.
    pub web: fn(&TaskerConfig) -> &WebConfig,
}

/// The parts that a running service's routes share.
#[derive(Debug)]
pub struct AppParts {
    /// The service.
    pub info: &'static ServiceInfo,
    /// Pool, configuration, caches and registry.
    pub context: Arc<SystemContext>,
    /// Stops the process in order.
    pub lifecycle: Lifecycle,
    /// The moment at which the process started.
    pub started: Instant,
    template_files: OnceLock<TemplateFiles>,
    registration: OnceLock<watch::Receiver<Option<Uuid>>>,
    pub(crate) triggers: TriggerWatch,
}

/// The template files that a worker found at its start.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TemplateFiles {
    /// The variable or the configuration key that names the folders.
    pub named_by: &'static str,
    /// The folders, in the order in which they are searched.
    #[schema(value_type = Vec<String>)]
    pub folders: Vec<PathBuf>,
    /// Number of template files.
    pub found: usize,
    /// Number of registered templates.
    pub registered: usize,
    /// Number of files that were not registered because of an error; the log has the reasons.
    pub refused: usize,
    /// The reason why the files were not registered, if the database took no writes at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_error: Option<String>,
    /// The reason why the start, or the sweep after it, did not delete cached templates from the
    /// distributed cache. Their hashes keep old ones from use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalidation_error: Option<String>,
}

impl AppParts {
    /// Creates the parts of a process that has just started.
    #[must_use]
    pub fn new(
        info: &'static ServiceInfo,
        context: Arc<SystemContext>,
        lifecycle: Lifecycle,
    ) -> Arc<Self> {
        Arc::new(Self {
            info,
            context,
            lifecycle,
            started: Instant::now(),
            template_files: OnceLock::new(),
            registration: OnceLock::new(),
            triggers: TriggerWatch::default(),
        })
    }

    /// Sets the template files that `/config` and `/health/detailed` show. Only the first call has an
    /// effect.
    pub fn set_template_files(&self, files: TemplateFiles) {
        self.template_files.get_or_init(|| files);
    }

    /// Sets the source of the id under which this process runs steps. Only the first call has an
    /// effect.
    pub fn set_registration(&self, registration: watch::Receiver<Option<Uuid>>) {
        self.registration.get_or_init(|| registration);
    }

    /// Returns nothing if this process runs no steps.
    pub(crate) fn registration(&self) -> Option<&watch::Receiver<Option<Uuid>>> {
        self.registration.get()
    }

    pub(crate) fn template_files(&self) -> Option<&TemplateFiles> {
        self.template_files.get()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::ServiceInfo;

    /// A service for unit tests.
    pub(crate) const INFO: ServiceInfo = ServiceInfo {
        name: "tasker-example",
        version: "1.2.3",
        about: "An example",
        web: |config| &config.worker.web,
    };
}

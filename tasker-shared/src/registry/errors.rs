//! Errors of the registry layer.

use std::sync::Arc;

use crate::database::DatabaseError;
use crate::models::core::task_template::TemplateError;

/// Why the registry could not answer. Cheap to clone: callers that share a load share its error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// No template is registered under this name.
    #[error("no template {namespace}/{name}/{version} is registered")]
    NotFound {
        /// The namespace that was asked for.
        namespace: String,
        /// The name that was asked for.
        name: String,
        /// The version that was asked for.
        version: String,
    },
    /// The registered body is not a template that this release can read.
    #[error("the registered template {namespace}/{name}/{version} cannot be read")]
    Unreadable {
        /// The template's namespace.
        namespace: String,
        /// The template's name.
        name: String,
        /// The template's version.
        version: String,
        /// What is wrong with it.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// What was to be registered is not a template.
    #[error("the template cannot be registered")]
    Invalid(#[source] Arc<TemplateError>),
    /// The pointers are older than the bound, and no poll of PostgreSQL succeeded in time.
    #[error("the template directory is older than its bound and PostgreSQL does not answer")]
    Stale,
    /// PostgreSQL failed.
    #[error("PostgreSQL did not answer the registry")]
    Database(#[source] Arc<DatabaseError>),
    /// A folder of templates does not exist or cannot be read.
    #[error("the template folder {path} cannot be read")]
    Folder {
        /// The folder that was asked for.
        path: String,
        /// Why not.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The registry was shut down.
    #[error("the registry is shut down")]
    ShutDown,
}

impl RegistryError {
    /// A stable code for clients and alerts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "template_not_found",
            Self::Unreadable { .. } => "template_unreadable",
            Self::Invalid(_) => "template_invalid",
            Self::Stale => "template_directory_stale",
            Self::Database(_) => "database_unavailable",
            Self::Folder { .. } => "template_directory_missing",
            Self::ShutDown => "shutting_down",
        }
    }
}

impl From<DatabaseError> for RegistryError {
    fn from(source: DatabaseError) -> Self {
        Self::Database(Arc::new(source))
    }
}

impl From<TemplateError> for RegistryError {
    fn from(source: TemplateError) -> Self {
        Self::Invalid(Arc::new(source))
    }
}

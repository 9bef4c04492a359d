//! Errors of the registry layer.

use std::sync::Arc;

use super::index::TemplateName;
use crate::database::DatabaseError;
use crate::models::core::task_template::TemplateError;

/// An error of the registry. Cheap to clone, because callers that share a load share its error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// No template is registered under this name.
    #[error("no template {namespace}/{name}/{version} is registered")]
    NotFound {
        /// The requested namespace.
        namespace: String,
        /// The requested name.
        name: String,
        /// The requested version.
        version: String,
    },
    /// The registered document is not a template that this release can read.
    #[error("the registered template {namespace}/{name}/{version} cannot be read")]
    Unreadable {
        /// The template's namespace.
        namespace: String,
        /// The template's name.
        name: String,
        /// The template's version.
        version: String,
        /// The error of the parser.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// A document that was to be registered is not a template.
    #[error("the template cannot be registered")]
    Invalid(#[source] Arc<TemplateError>),
    /// The index is older than the bound, and no poll of PostgreSQL succeeded in time.
    #[error("the template index is older than its bound, because polls of PostgreSQL fail")]
    Stale {
        /// The error of the last poll, if one failed.
        #[source]
        source: Option<Arc<DatabaseError>>,
    },
    /// The template changed again and again while it was resolved, so that no load was current.
    #[error("the template {namespace}/{name}/{version} changes faster than it can be loaded")]
    Changing {
        /// The template's namespace.
        namespace: String,
        /// The template's name.
        name: String,
        /// The template's version.
        version: String,
    },
    /// PostgreSQL failed.
    #[error("PostgreSQL did not answer the registry")]
    Database(#[source] Arc<DatabaseError>),
    /// A folder of templates does not exist or cannot be read.
    #[error("the template folder {path} cannot be read")]
    Folder {
        /// The requested folder.
        path: String,
        /// The error of the file system.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The registry was shut down.
    #[error("the registry is shut down")]
    ShutDown,
}

impl RegistryError {
    pub(super) fn not_found(name: TemplateName<'_>) -> Self {
        Self::NotFound {
            namespace: name.namespace.to_owned(),
            name: name.name.to_owned(),
            version: name.version.to_owned(),
        }
    }

    pub(super) fn unreadable(name: TemplateName<'_>, source: serde_json::Error) -> Self {
        Self::Unreadable {
            namespace: name.namespace.to_owned(),
            name: name.name.to_owned(),
            version: name.version.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(super) fn changing(name: TemplateName<'_>) -> Self {
        Self::Changing {
            namespace: name.namespace.to_owned(),
            name: name.name.to_owned(),
            version: name.version.to_owned(),
        }
    }

    /// Returns a stable code for clients and alerts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "template_not_found",
            Self::Unreadable { .. } => "template_unreadable",
            Self::Invalid(_) => "template_invalid",
            Self::Stale { .. } => "template_directory_stale",
            Self::Changing { .. } => "template_changing",
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

//! What a resolve answers.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{ContentHash, Document};
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::models::core::task_template::TaskTemplate;

/// A resolved template: the registered body, and what a task needs to know of its row.
///
/// Two answers for the same registration are equal, whichever tier gave them.
#[derive(Debug, Clone)]
pub struct HandlerMetadata {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// `task_handler.callable`; empty when the template names no task handler.
    pub handler_class: String,
    /// `system_dependencies.primary`.
    pub default_dependent_system: Option<String>,
    /// The content hash of the body.
    pub hash: ContentHash,
    /// The commit that made this registration current, in the database's order of commits.
    pub sequence: i64,
    /// The row in `tasker.named_tasks`.
    pub named_task_uuid: Uuid,
    /// How requests for this template are deduplicated.
    pub identity_strategy: IdentityStrategy,
    /// When this content was registered, by the database's clock.
    pub registered_at: DateTime<Utc>,
    /// The keys that Tasker reads, typed.
    pub template: TaskTemplate,
    /// The document as PostgreSQL holds it, unknown keys included.
    pub document: Document,
}

impl PartialEq for HandlerMetadata {
    fn eq(&self, other: &Self) -> bool {
        // `handler_class`, `default_dependent_system` and `template` are read from `document`.
        (
            &self.namespace,
            &self.name,
            &self.version,
            self.hash,
            self.sequence,
        ) == (
            &other.namespace,
            &other.name,
            &other.version,
            other.hash,
            other.sequence,
        ) && self.named_task_uuid == other.named_task_uuid
            && self.identity_strategy == other.identity_strategy
            && self.registered_at == other.registered_at
            && self.document == other.document
    }
}

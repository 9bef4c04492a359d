//! The result of resolving a template.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ContentHash, Document};
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::models::core::task_template::TaskTemplate;

/// A resolved template: the registered document, and the columns of its row that a task needs.
///
/// Two results for the same registration are equal, whichever tier they are from. The JSON holds
/// the document as it is, with its exact bytes; reading the JSON parses `template` from the document.
/// Only `serde_json` can write and read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct HandlerMetadata {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// `task_handler.callable`; empty if the template names no task handler.
    pub handler_class: String,
    /// `system_dependencies.primary`.
    pub default_dependent_system: Option<String>,
    /// The hash of the document.
    pub hash: ContentHash,
    /// The position of the commit that made this registration current.
    pub sequence: i64,
    /// The row in `tasker.named_tasks`.
    pub named_task_uuid: Uuid,
    /// The rule that deduplicates requests for this template.
    pub identity_strategy: IdentityStrategy,
    /// When this document was registered, by the database's clock.
    pub registered_at: DateTime<Utc>,
    /// The keys that Tasker reads, typed.
    #[serde(skip_serializing)]
    pub template: TaskTemplate,
    /// The document as PostgreSQL returns it, unknown keys included.
    pub document: Document,
}

/// The fields in JSON.
#[derive(Deserialize)]
struct Stored {
    namespace: String,
    name: String,
    version: String,
    handler_class: String,
    default_dependent_system: Option<String>,
    hash: ContentHash,
    sequence: i64,
    named_task_uuid: Uuid,
    identity_strategy: IdentityStrategy,
    registered_at: DateTime<Utc>,
    document: Document,
}

impl TryFrom<Stored> for HandlerMetadata {
    type Error = serde_json::Error;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        Ok(Self {
            namespace: stored.namespace,
            name: stored.name,
            version: stored.version,
            handler_class: stored.handler_class,
            default_dependent_system: stored.default_dependent_system,
            hash: stored.hash,
            sequence: stored.sequence,
            named_task_uuid: stored.named_task_uuid,
            identity_strategy: stored.identity_strategy,
            registered_at: stored.registered_at,
            template: serde_json::from_str(stored.document.get())?,
            document: stored.document,
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::HandlerMetadata;
    use crate::models::core::identity_strategy::IdentityStrategy;
    use crate::types::{ContentHash, Document};

    #[test]
    fn it_survives_the_round_trip_through_json_with_the_bytes_of_its_document() {
        let text = r#"{"name":  "refund", "steps": [], "unknown": 1.50}"#;
        let (document, template) = Document::read(text).unwrap();
        let metadata = HandlerMetadata {
            namespace: String::from("payments"),
            name: String::from("refund"),
            version: String::from("1.0.0"),
            handler_class: String::from("Refund"),
            default_dependent_system: None,
            hash: ContentHash::of(text),
            sequence: 7,
            named_task_uuid: Uuid::from_u128(1),
            identity_strategy: IdentityStrategy::Strict,
            registered_at: DateTime::UNIX_EPOCH,
            template,
            document,
        };
        let json = serde_json::to_string(&metadata).unwrap();
        assert!(json.contains(text), "{json}");
        let read: HandlerMetadata = serde_json::from_str(&json).unwrap();
        assert_eq!(read, metadata);
    }
}

//! Values for unit tests.

use chrono::DateTime;
use serde_json::json;
use serde_json::value::to_raw_value;
use tasker_shared::models::core::identity_strategy::IdentityStrategy;
use tasker_shared::types::{ContentHash, HandlerMetadata};
use uuid::Uuid;

/// Returns the registration of `namespace/{name}/1.0.0`.
pub(crate) fn metadata(name: &str, content: u8, sequence: i64) -> HandlerMetadata {
    let document = json!({
        "name": name,
        "namespace_name": "namespace",
        "version": "1.0.0",
        "steps": [],
    });
    HandlerMetadata {
        namespace: "namespace".into(),
        name: name.into(),
        version: "1.0.0".into(),
        handler_class: String::new(),
        default_dependent_system: None,
        hash: ContentHash::from_bytes([content; 32]),
        sequence,
        named_task_uuid: Uuid::nil(),
        identity_strategy: IdentityStrategy::Strict,
        registered_at: DateTime::UNIX_EPOCH,
        document: to_raw_value(&document).unwrap().into(),
        template: serde_json::from_value(document).unwrap(),
    }
}

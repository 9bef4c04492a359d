//! The request for a task.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::task_template::FreeForm;

/// A request to run a task. Everything but the name has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// The template's name.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// The template's namespace. Default `default`.
    #[serde(default = "default_namespace")]
    #[schema(min_length = 1, max_length = 64)]
    pub namespace: String,
    /// The template's version. Default `0.1.0`.
    #[serde(default = "default_version")]
    #[schema(min_length = 1, max_length = 16)]
    pub version: String,
    /// The task's input, checked against the template's `input_schema`. Default `{}`.
    #[serde(default = "empty_object")]
    #[schema(value_type = Object)]
    pub context: FreeForm,
    /// The person or program that sent the request. Default `system`.
    #[serde(default = "default_initiator")]
    #[schema(max_length = 128)]
    pub initiator: String,
    /// The system that sent the request. Default `tasker-core`.
    #[serde(default = "default_source_system")]
    #[schema(max_length = 128)]
    pub source_system: String,
    /// The reason for the request. Default `Task requested`.
    #[serde(default = "default_reason")]
    #[schema(max_length = 128)]
    pub reason: String,
    /// Free labels.
    #[serde(default)]
    #[schema(max_items = 64, max_length = 128)]
    pub tags: Vec<String>,
    /// Higher runs earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Free options, stored with the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub options: Option<FreeForm>,
    /// Time of the request. Without a zone it is UTC. Default: its arrival.
    #[serde(
        default,
        deserialize_with = "time_or_utc",
        skip_serializing_if = "Option::is_none"
    )]
    pub requested_at: Option<DateTime<Utc>>,
    /// Connects the requests of one business operation. Default: a new id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// The correlation id of the operation that caused this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_correlation_id: Option<Uuid>,
    /// Deduplicates requests: two requests of one template with the same key are one task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
}

impl TaskRequest {
    /// Returns a request for `name` in `namespace` with all defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            namespace: namespace.into(),
            version: default_version(),
            context: empty_object(),
            initiator: default_initiator(),
            source_system: default_source_system(),
            reason: default_reason(),
            tags: Vec::new(),
            priority: None,
            options: None,
            requested_at: None,
            correlation_id: None,
            parent_correlation_id: None,
            idempotency_key: None,
        }
    }

    /// Replaces the version.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Replaces the context.
    #[must_use]
    pub fn with_context(mut self, context: Value) -> Self {
        self.context = context.into();
        self
    }
}

/// Reads a time of RFC 3339. One without a zone is in UTC, as clients of other software send it.
fn time_or_utc<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    let with_zone = text.parse::<DateTime<Utc>>();
    let time = with_zone.or_else(|error| match text.parse::<NaiveDateTime>() {
        Ok(time) => Ok(time.and_utc()),
        Err(_) => Err(error),
    });
    time.map(Some).map_err(D::Error::custom)
}

fn default_namespace() -> String {
    String::from("default")
}

fn default_version() -> String {
    String::from("0.1.0")
}

fn empty_object() -> FreeForm {
    Value::Object(serde_json::Map::new()).into()
}

fn default_initiator() -> String {
    String::from("system")
}

fn default_source_system() -> String {
    String::from("tasker-core")
}

fn default_reason() -> String {
    String::from("Task requested")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::TaskRequest;

    fn requested_at(time: &str) -> Option<String> {
        let request = json!({"name": "refund", "requested_at": time});
        let request: TaskRequest = serde_json::from_value(request).ok()?;
        request.requested_at.map(|time| time.to_rfc3339())
    }

    #[test]
    fn a_time_without_a_zone_is_utc() {
        for (given, meant) in [
            ("2026-05-06T07:08:09", "2026-05-06T07:08:09+00:00"),
            ("2026-05-06T07:08:09.25", "2026-05-06T07:08:09.250+00:00"),
            ("2026-05-06T07:08:09Z", "2026-05-06T07:08:09+00:00"),
            ("2026-05-06T07:08:09+02:00", "2026-05-06T05:08:09+00:00"),
        ] {
            assert_eq!(requested_at(given).as_deref(), Some(meant), "{given}");
        }
        for wrong in ["", "now", "2026-13-01T00:00:00", "2026-05-06"] {
            assert_eq!(requested_at(wrong), None, "{wrong}");
        }
        let request = json!({"name": "refund", "requested_at": null});
        let request: TaskRequest = serde_json::from_value(request).expect("null is absent");
        assert_eq!(request.requested_at, None);
    }
}

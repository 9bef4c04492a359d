//! Rows of a claim's answer.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;
use uuid::Uuid;

/// JSON that is passed on without being read.
pub type Raw = Json<Box<RawValue>>;

/// One row of `tasker.execution_row`; the type's comment in the migration says which columns belong
/// to which `kind`.
#[derive(Debug, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct ExecutionRow {
    pub kind: String,
    pub task_uuid: Option<Uuid>,
    pub workflow_step_uuid: Option<Uuid>,
    pub name: Option<String>,
    pub callable: Option<String>,
    pub attempt: Option<i32>,
    pub uncounted: Option<i32>,
    pub value: Option<Raw>,
    pub extra: Option<Raw>,
    pub parents: Option<Vec<Uuid>>,
    pub priority: Option<i16>,
    pub due_at: Option<DateTime<Utc>>,
}

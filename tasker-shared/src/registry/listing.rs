//! Lists registered names.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::RegistryError;
use crate::database;
use crate::types::ContentHash;

/// How long a listing may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A registered name and what it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredTemplate {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// What its author says that it does.
    pub description: Option<String>,
    /// The content hash of its body.
    pub hash: ContentHash,
    /// The commit that made it current, in the database's order of commits.
    pub sequence: i64,
    /// When its content was registered, by the database's clock.
    pub registered_at: DateTime<Utc>,
}

/// Registered names, sorted, read from the database; of one namespace if one is given.
pub(super) async fn list(
    pool: &PgPool,
    namespace: Option<&str>,
) -> Result<Vec<RegisteredTemplate>, RegistryError> {
    let rows = database::read(pool, LIMIT, |connection| {
        let namespace = namespace.map(str::to_owned);
        Box::pin(async move {
            sqlx::query!(
                r#"
                SELECT v.namespace, v.name, v.version, t.description, v.sequence, v.registered_at,
                       v.content_hash AS "content_hash!"
                FROM tasker.template_versions v
                JOIN tasker.named_tasks t ON t.named_task_uuid = v.named_task_uuid
                WHERE v.content_hash IS NOT NULL AND ($1::text IS NULL OR v.namespace = $1)
                ORDER BY v.namespace, v.name, v.version
                "#,
                namespace,
            )
            .fetch_all(connection)
            .await
        })
    })
    .await?;
    let templates = rows.into_iter().filter_map(|row| {
        Some(RegisteredTemplate {
            hash: row.content_hash.parse().ok()?,
            namespace: row.namespace,
            name: row.name,
            version: row.version,
            description: row.description,
            sequence: row.sequence,
            registered_at: row.registered_at,
        })
    });
    Ok(templates.collect())
}

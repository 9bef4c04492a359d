//! Lists registered templates from the database, and the triggers that do not fire for them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::errors::RegistryError;
use crate::database;
use crate::types::ContentHash;

/// The longest time that a listing may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A registered template without its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateListing {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// The author's description.
    pub description: Option<String>,
    /// The hash of its document.
    pub hash: ContentHash,
    /// The position of the commit that made it current.
    pub sequence: i64,
    /// The time at which its content was registered, by the database's clock.
    pub registered_at: DateTime<Utc>,
}

/// Returns the registered templates, sorted by name; those of one namespace if one is given.
pub(super) async fn list(
    pool: &PgPool,
    namespace: Option<&str>,
) -> Result<Vec<TemplateListing>, RegistryError> {
    let rows = database::run_idempotent(pool, LIMIT, |connection| {
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
        Some(TemplateListing {
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

/// Returns the triggers that do not fire as they have to.
pub(super) async fn wrong_triggers(pool: &PgPool) -> Result<Vec<String>, RegistryError> {
    let wrong = database::run_idempotent(pool, LIMIT, |connection| {
        Box::pin(async move {
            sqlx::query_scalar("SELECT tasker.template_triggers_wrong()")
                .fetch_one(connection)
                .await
        })
    });
    Ok(wrong.await?)
}

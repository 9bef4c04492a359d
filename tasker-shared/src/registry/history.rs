//! History of templates: which document a name had when, and where it came from.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgPool};
use utoipa::ToSchema;

use super::RegistryError;
use crate::database;
use crate::models::core::task_template::FreeForm;

/// The longest time that a read may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The most bytes of documents in a history.
const MAX_DOCUMENTS: i64 = 4 * 1024 * 1024;

/// A time in which a name had one document, or none.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
pub struct TemplateChange {
    /// The position of the commit with which it began.
    pub sequence: i64,
    /// The hash of the document; absent while the name was retired or deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// The begin, by the database's clock.
    pub changed_at: DateTime<Utc>,
    /// The end; absent for the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// The file that was registered, as its process named it; absent if it came from none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The program, its process id and host; or application and user of the database, for a change by SQL.
    /// Absent if it was written before the history began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The document, if it was asked for and is still known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    #[sqlx(json(nullable))]
    pub document: Option<FreeForm>,
    /// True if the document is left out, because the newer ones and this one have more than 4 MiB. Absent
    /// otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub document_left_out: bool,
}

/// Returns the history of a name, the newest first; none if the name was never registered.
///
/// # Errors
/// [`RegistryError::Database`] if PostgreSQL fails.
pub async fn template_history(
    pool: &PgPool,
    namespace: &str,
    name: &str,
    version: &str,
    with_documents: bool,
) -> Result<Vec<TemplateChange>, RegistryError> {
    let changes = database::run_idempotent(pool, LIMIT, |connection| {
        let names = [namespace, name, version].map(str::to_owned);
        Box::pin(async move {
            let [namespace, name, version] = names;
            sqlx::query_as(
                "SELECT c.sequence, c.hash, c.changed_at, c.until, c.file, c.process,
                        CASE WHEN c.fits THEN c.document END AS document,
                        NOT c.fits AS document_left_out
                 FROM (
                     SELECT e.*, sum(e.size) OVER (ORDER BY e.sequence DESC) <= $5 AS fits
                     FROM (
                         SELECT s.*,
                                CASE WHEN sum(coalesce(pg_column_size(s.document), 0))
                                              OVER (ORDER BY s.sequence DESC) <= $5
                                     THEN coalesce(octet_length(s.document::text), 0)
                                     ELSE $5 + 1
                                END AS size
                         FROM (
                             SELECT h.sequence, h.content_hash::text AS hash, h.changed_at,
                                    lead(h.changed_at) OVER (ORDER BY h.sequence) AS until,
                                    h.file, h.process,
                                    CASE WHEN $4 THEN coalesce(
                                        (SELECT d.document FROM tasker.template_history_documents d
                                         WHERE d.hash = h.content_hash),
                                        (SELECT t.configuration FROM tasker.template_versions v
                                         JOIN tasker.named_tasks t USING (named_task_uuid)
                                         WHERE v.namespace = h.namespace AND v.name = h.name
                                             AND v.version = h.version
                                             AND v.content_hash = h.content_hash)
                                    ) END AS document
                             FROM tasker.template_history h
                             WHERE h.namespace = $1 AND h.name = $2 AND h.version = $3
                             ORDER BY h.sequence DESC LIMIT 1000
                         ) s
                     ) e
                 ) c
                 ORDER BY c.sequence DESC",
            )
            .bind(namespace)
            .bind(name)
            .bind(version)
            .bind(with_documents)
            .bind(MAX_DOCUMENTS)
            .fetch_all(connection)
            .await
        })
    });
    Ok(changes.await?)
}

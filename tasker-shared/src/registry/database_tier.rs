//! Documents in PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::errors::RegistryError;
use super::index::{Pointer, TemplateName};
use super::resolution::assemble;
use crate::database::{self, DatabaseError, PoolShare, StoredJson};
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::types::HandlerMetadata;

/// The time limit for one document.
const LIMIT: Duration = Duration::from_secs(5);

/// The document and the pointer of a name, from one snapshot of the database.
#[derive(Debug)]
pub(super) struct StoredDocument {
    pub(super) pointer: Pointer,
    pub(super) document: Arc<str>,
}

/// Resolves a name from the database alone, in one statement.
pub(super) async fn resolve(
    pool: &PoolShare,
    name: TemplateName<'_>,
) -> Result<HandlerMetadata, RegistryError> {
    let Some(stored) = load(pool, name).await? else {
        return Err(RegistryError::not_found(name));
    };
    assemble(name, &stored.pointer, stored.document)
        .map_err(|source| RegistryError::unreadable(name, source))
}

/// Reads the document of a name. Returns `None` if the name is not registered.
pub(super) async fn load(
    pool: &PoolShare,
    name: TemplateName<'_>,
) -> Result<Option<StoredDocument>, DatabaseError> {
    pool.run_idempotent(LIMIT, |connection| {
        let (namespace, name, version) = (
            name.namespace.to_owned(),
            name.name.to_owned(),
            name.version.to_owned(),
        );
        read(connection, namespace, name, version)
    })
    .await
}

fn read(
    connection: &mut PgConnection,
    namespace: String,
    name: String,
    version: String,
) -> BoxFuture<'_, Result<Option<StoredDocument>, sqlx::Error>> {
    Box::pin(async move {
        let row = sqlx::query!(
            r#"
            SELECT v.sequence, v.content_hash AS "content_hash!",
                   v.named_task_uuid AS "named_task_uuid!",
                   v.identity_strategy AS "identity_strategy!: IdentityStrategy",
                   v.registered_at,
                   coalesce(t.configuration, '{}') AS "document!: StoredJson",
                   pg_is_in_recovery() AS "is_standby!"
            FROM tasker.template_versions v
            JOIN tasker.named_tasks t ON t.named_task_uuid = v.named_task_uuid
            WHERE v.namespace = $1 AND v.name = $2 AND v.version = $3
                AND v.content_hash IS NOT NULL
            "#,
            namespace,
            name,
            version,
        )
        .fetch_optional(&mut *connection)
        .await?;
        // A standby may be behind, and what it lacks may be registered.
        let Some(row) = row else {
            database::check_primary(connection).await?;
            return Ok(None);
        };
        if row.is_standby {
            return Err(database::standby());
        }
        let hash = row
            .content_hash
            .parse()
            .map_err(|error| sqlx::Error::ColumnDecode {
                index: String::from("content_hash"),
                source: Box::<hex::FromHexError>::new(error),
            })?;
        Ok(Some(StoredDocument {
            pointer: Pointer {
                sequence: row.sequence,
                hash,
                named_task_uuid: row.named_task_uuid,
                identity_strategy: row.identity_strategy,
                registered_at: row.registered_at,
            },
            document: row.document.0,
        }))
    })
}

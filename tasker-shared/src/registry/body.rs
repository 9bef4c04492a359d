//! A template's body in PostgreSQL, and what is made of a body.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::RegistryError;
use super::index::{Pointer, TemplateName};
use crate::database::{self, DatabaseError, HeldConnections, StoredJson};
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::models::core::task_template::TaskTemplate;
use crate::types::{Document, HandlerMetadata};

/// How long PostgreSQL may take over one body.
const LIMIT: Duration = Duration::from_secs(5);

/// Body and pointer of a name, from one snapshot of the database.
#[derive(Debug)]
pub(super) struct StoredBody {
    pub(super) pointer: Pointer,
    pub(super) document: Arc<str>,
}

/// A body, and what may have come before it in the same text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: Arc<str>,
    pub(super) start: usize,
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self { text, start: 0 }
    }
}

/// Resolves a name from the database alone, in one statement.
pub(super) async fn resolve(
    connections: &HeldConnections,
    name: TemplateName<'_>,
) -> Result<HandlerMetadata, RegistryError> {
    let stored = load(connections, name)
        .await?
        .ok_or_else(|| RegistryError::NotFound {
            namespace: name.namespace.to_owned(),
            name: name.name.to_owned(),
            version: name.version.to_owned(),
        })?;
    assemble(name, &stored.pointer, &stored.document.into())
        .map_err(|source| unreadable(name, source))
}

/// The body of a name. `None` when the name is not registered.
pub(super) async fn load(
    connections: &HeldConnections,
    name: TemplateName<'_>,
) -> Result<Option<StoredBody>, DatabaseError> {
    database::read_on(connections, LIMIT, |connection| {
        let (namespace, name, version) = (
            name.namespace.to_owned(),
            name.name.to_owned(),
            name.version.to_owned(),
        );
        read(connection, namespace, name, version)
    })
    .await
}

pub(super) fn unreadable(name: TemplateName<'_>, source: serde_json::Error) -> RegistryError {
    RegistryError::Unreadable {
        namespace: name.namespace.to_owned(),
        name: name.name.to_owned(),
        version: name.version.to_owned(),
        source: Arc::new(source),
    }
}

fn read(
    connection: &mut PgConnection,
    namespace: String,
    name: String,
    version: String,
) -> BoxFuture<'_, Result<Option<StoredBody>, sqlx::Error>> {
    Box::pin(async move {
        let row = sqlx::query!(
            r#"
            SELECT v.sequence, v.content_hash AS "content_hash!",
                   v.named_task_uuid AS "named_task_uuid!",
                   v.identity_strategy AS "identity_strategy!: IdentityStrategy",
                   v.registered_at,
                   coalesce(t.configuration, '{}') AS "document!: StoredJson"
            FROM tasker.template_versions v
            JOIN tasker.named_tasks t ON t.named_task_uuid = v.named_task_uuid
            WHERE v.namespace = $1 AND v.name = $2 AND v.version = $3
                AND v.content_hash IS NOT NULL
            "#,
            namespace,
            name,
            version,
        )
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let hash = row
            .content_hash
            .parse()
            .map_err(|error| sqlx::Error::ColumnDecode {
                index: String::from("content_hash"),
                source: Box::<hex::FromHexError>::new(error),
            })?;
        Ok(Some(StoredBody {
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

/// The answer of a resolve: the body under its name, with what the pointer knows of the row.
pub(super) fn assemble(
    name: TemplateName<'_>,
    pointer: &Pointer,
    document: &Text,
) -> Result<HandlerMetadata, serde_json::Error> {
    let text = &document.text[document.start..];
    let (document, template) = Document::read::<TaskTemplate>(text)?;
    Ok(HandlerMetadata {
        namespace: name.namespace.to_owned(),
        name: name.name.to_owned(),
        version: name.version.to_owned(),
        handler_class: template
            .task_handler
            .as_ref()
            .map(|handler| handler.callable.as_str().to_owned())
            .unwrap_or_default(),
        default_dependent_system: template
            .system_dependencies
            .as_ref()
            .and_then(|systems| systems.primary.as_deref().map(str::to_owned)),
        hash: pointer.hash,
        sequence: pointer.sequence,
        named_task_uuid: pointer.named_task_uuid,
        identity_strategy: pointer.identity_strategy,
        registered_at: pointer.registered_at,
        template,
        document,
    })
}

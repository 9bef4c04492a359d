//! Registering templates: the write path.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::RegistryError;
use super::directory::TemplateName;
use crate::database;
use crate::metrics::TEMPLATE_REGISTRATIONS;
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::models::core::task_template::TemplateDocument;

/// How long registering a batch may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The most that one statement carries; a larger batch takes several, in one transaction.
const STATEMENT_BYTES: usize = 32 * 1024 * 1024;

/// What registering a template did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationStatus {
    /// The name was new.
    Created,
    /// The name pointed to other content.
    Updated,
    /// The content was registered already; nothing was written.
    Unchanged,
}

impl RegistrationStatus {
    /// A label for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A template that was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// What registering it did.
    pub status: RegistrationStatus,
    /// The row in `tasker.named_tasks`.
    pub named_task_uuid: Uuid,
}

impl Registration {
    pub(super) fn template_name(&self) -> TemplateName<'_> {
        TemplateName {
            namespace: &self.namespace,
            name: &self.name,
            version: &self.version,
        }
    }
}

/// What a batch came to.
#[derive(Debug, Default)]
pub(super) struct Registered {
    /// One for each template, in their order.
    pub(super) registrations: Vec<Registration>,
    /// The statement was sent more than once, after its connection was lost: what is told as
    /// unchanged may have been written by the first.
    pub(super) retried: bool,
}

/// Registers all of `templates` or none. Names must not repeat.
pub(super) async fn register(
    pool: &PgPool,
    templates: &[&TemplateDocument],
) -> Result<Registered, RegistryError> {
    if templates.is_empty() {
        return Ok(Registered::default());
    }
    let batches = batches(templates);
    let mut attempts = 0;
    // Registering is idempotent, so it may be tried again on another connection.
    let written = database::read(pool, LIMIT, |connection| {
        attempts += 1;
        write_all(connection, batches.clone())
    });
    let written = match written.await {
        Ok(written) => written,
        Err(error) => {
            let failed = u64::try_from(templates.len()).unwrap_or(u64::MAX);
            metrics::counter!(TEMPLATE_REGISTRATIONS.name, "status" => "failed").increment(failed);
            return Err(error.into());
        }
    };
    let registrations =
        templates
            .iter()
            .zip(written)
            .map(|(document, (status, named_task_uuid))| {
                metrics::counter!(TEMPLATE_REGISTRATIONS.name, "status" => status.label())
                    .increment(1);
                let template = document.template();
                Registration {
                    namespace: template.namespace_name.clone(),
                    name: template.name.clone(),
                    version: template.version.clone(),
                    status,
                    named_task_uuid,
                }
            });
    Ok(Registered {
        registrations: registrations.collect(),
        retried: attempts > 1,
    })
}

/// Parallel arrays, as the statement takes them.
#[derive(Debug, Clone, Default)]
struct Batch {
    namespaces: Vec<String>,
    names: Vec<String>,
    versions: Vec<String>,
    descriptions: Vec<Option<String>>,
    strategies: Vec<Option<String>>,
    configurations: Vec<String>,
}

fn batches(templates: &[&TemplateDocument]) -> std::sync::Arc<[Batch]> {
    let mut batches = vec![Batch::default()];
    let mut bytes = 0;
    for document in templates {
        let configuration = document.json().to_string();
        if bytes > 0 && bytes + configuration.len() > STATEMENT_BYTES {
            batches.push(Batch::default());
            bytes = 0;
        }
        bytes += configuration.len();
        let template = document.template();
        let batch = batches.last_mut().expect("there is a batch from the start");
        batch.namespaces.push(template.namespace_name.clone());
        batch.names.push(template.name.clone());
        batch.versions.push(template.version.clone());
        batch
            .descriptions
            .push(template.description.as_deref().map(fitting));
        batch
            .strategies
            .push(template.identity_strategy.map(strategy_text));
        batch.configurations.push(configuration);
    }
    batches.into()
}

/// The description's column is shorter than what an author may write; the document keeps it all.
fn fitting(description: &str) -> String {
    description.chars().take(255).collect()
}

fn strategy_text(strategy: IdentityStrategy) -> String {
    String::from(match strategy {
        IdentityStrategy::Strict => "strict",
        IdentityStrategy::CallerProvided => "caller_provided",
        IdentityStrategy::AlwaysUnique => "always_unique",
    })
}

type Written = Vec<(RegistrationStatus, Uuid)>;

fn write_all(
    connection: &mut PgConnection,
    batches: std::sync::Arc<[Batch]>,
) -> BoxFuture<'_, Result<Written, sqlx::Error>> {
    Box::pin(async move {
        if let [batch] = &*batches {
            return write(connection, batch).await;
        }
        let mut transaction = connection.begin().await?;
        let mut written = Vec::new();
        for batch in &*batches {
            written.extend(write(&mut transaction, batch).await?);
        }
        transaction.commit().await?;
        Ok(written)
    })
}

async fn write(connection: &mut PgConnection, batch: &Batch) -> Result<Written, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT status AS "status!", named_task_uuid AS "named_task_uuid!"
        FROM tasker.register_templates($1, $2, $3, $4, $5, $6)
        ORDER BY item
        "#,
        &batch.namespaces,
        &batch.names,
        &batch.versions,
        &batch.descriptions as &[Option<String>],
        &batch.strategies as &[Option<String>],
        &batch.configurations,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let status = match row.status.as_str() {
                "created" => RegistrationStatus::Created,
                "updated" => RegistrationStatus::Updated,
                _ => RegistrationStatus::Unchanged,
            };
            (status, row.named_task_uuid)
        })
        .collect())
}

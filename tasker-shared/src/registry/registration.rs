//! Registers templates: the write path.
//!
//! Sends only the documents whose hash is not the registered one. The template index knows the
//! registered hashes if the caller has it; else PostgreSQL is asked for them first, when the batch is
//! large. We compute the hashes that are compared. PostgreSQL computes the registered ones. If the two
//! ever differed, a registered document would be sent again, and PostgreSQL, which compares it with the
//! stored one, would leave the row unchanged.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, PgPool};
use strum::VariantArray;
use uuid::Uuid;

use super::errors::RegistryError;
use super::index::{Snapshot, TemplateName};
use super::source;
use crate::config::tasker::OnChangedVersion;
use crate::database::{self, jsonb};
use crate::events::RegistryEvent;
use crate::metrics::TEMPLATE_REGISTRATIONS;
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::models::core::task_template::TemplateDocument;
use crate::types::ContentHash;

/// The longest time that registering a batch may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The most that one statement carries. A larger batch takes several, in one transaction.
const STATEMENT_BYTES: usize = 32 * 1024 * 1024;
/// A smaller batch is sent without asking for hashes first, because that costs less than the question.
const ASK_FIRST_BYTES: usize = 64 * 1024;
/// The width of the description's column. The document keeps the author's whole text.
const DESCRIPTION_CHARACTERS: usize = 255;

/// The effect of registering a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RegistrationStatus {
    /// The name was new.
    Created,
    /// The name had another document, description or strategy.
    Updated,
    /// The template was registered already. Nothing was written.
    Unchanged,
    /// The name has another document, which was kept as `on_changed_version` says.
    Refused,
}

impl RegistrationStatus {
    /// A label for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// The outcome of registering one template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationOutcome {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// The effect.
    pub status: RegistrationStatus,
    /// The row in `tasker.named_tasks`.
    pub named_task_uuid: Uuid,
    /// The hash of the given document.
    pub hash: ContentHash,
    /// The hash that was registered before, if that was looked up and differs.
    pub other_hash: Option<ContentHash>,
    /// The template was found to be retired. It stays so, and new tasks do not find it.
    pub is_retired: bool,
    /// The file of the document, if it comes from one.
    pub file: Option<PathBuf>,
}

impl RegistrationOutcome {
    fn name(&self) -> TemplateName<'_> {
        TemplateName {
            namespace: &self.namespace,
            name: &self.name,
            version: &self.version,
        }
    }

    /// Returns the event that announces it.
    pub(super) fn event(&self) -> RegistryEvent {
        let (namespace, name, version) = (
            self.namespace.clone(),
            self.name.clone(),
            self.version.clone(),
        );
        match self.status {
            RegistrationStatus::Unchanged | RegistrationStatus::Refused => {
                RegistryEvent::Unchanged {
                    namespace,
                    name,
                    version,
                }
            }
            RegistrationStatus::Created | RegistrationStatus::Updated => {
                RegistryEvent::Registered {
                    namespace,
                    name,
                    version,
                }
            }
        }
    }
}

/// The outcome of registering a batch.
#[derive(Debug, Default)]
pub(super) struct BatchOutcome {
    /// One for each template, in the order given.
    pub(super) outcomes: Vec<RegistrationOutcome>,
    /// Cached documents of unchanged templates are deleted, too. Either the caller registers these
    /// templates by name, or the statement was sent more than once, as after a lost connection: the
    /// first one may have written templates that the last one reports as unchanged.
    invalidates_unchanged: bool,
    /// The index had every template, so PostgreSQL was not asked.
    pub(super) all_in_index: bool,
}

impl BatchOutcome {
    /// Returns the names of all templates.
    pub(super) fn names(&self) -> impl Iterator<Item = TemplateName<'_>> {
        self.outcomes.iter().map(RegistrationOutcome::name)
    }

    /// Returns the names whose cached documents are deleted.
    pub(super) fn invalidated(&self) -> impl Iterator<Item = TemplateName<'_>> {
        self.outcomes
            .iter()
            .filter(|one| match one.status {
                RegistrationStatus::Created | RegistrationStatus::Updated => true,
                RegistrationStatus::Unchanged => self.invalidates_unchanged,
                RegistrationStatus::Refused => false,
            })
            .map(RegistrationOutcome::name)
    }
}

/// A template that could be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedTemplate {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    description: Option<String>,
    strategy: Option<&'static str>,
    /// As PostgreSQL writes a `jsonb`, so equal documents have equal texts.
    pub(super) document: String,
    /// The hash that the document gets when it is registered.
    pub hash: ContentHash,
    /// The file, if it is from one.
    pub file: Option<PathBuf>,
}

impl From<&TemplateDocument> for CheckedTemplate {
    fn from(document: &TemplateDocument) -> Self {
        let template = document.template();
        let document = jsonb::text(document.json());
        Self {
            namespace: template.namespace_name.clone(),
            name: template.name.clone(),
            version: template.version.clone(),
            description: template
                .description
                .as_deref()
                .map(|text| text.chars().take(DESCRIPTION_CHARACTERS).collect()),
            strategy: template.identity_strategy.map(IdentityStrategy::name),
            hash: ContentHash::from_bytes(Sha256::digest(&document).into()),
            document,
            file: None,
        }
    }
}

/// The registration that a name has before a batch.
#[derive(Debug, Clone, Copy)]
struct Known {
    hash: ContentHash,
    named_task_uuid: Uuid,
    /// Hash, description and strategy are those of the given template.
    is_same: bool,
    is_retired: bool,
}

impl CheckedTemplate {
    /// Returns the registration that `snapshot` has under this name.
    fn look_up(&self, snapshot: &Snapshot) -> Option<Known> {
        let name = TemplateName {
            namespace: &self.namespace,
            name: &self.name,
            version: &self.version,
        };
        let pointer = &snapshot.get(name)?.pointer;
        let strategy = pointer.identity_strategy.name();
        Some(Known {
            hash: pointer.hash,
            named_task_uuid: pointer.named_task_uuid,
            is_same: pointer.hash == self.hash
                && self.strategy.is_none_or(|wanted| wanted == strategy),
            is_retired: false,
        })
    }

    /// Returns the result if nothing must be written.
    fn decide(&self, known: Option<Known>, replaces: bool) -> Option<StatusAndRow> {
        let known = known?;
        let status = if known.is_same {
            RegistrationStatus::Unchanged
        } else if !replaces && known.hash != self.hash {
            RegistrationStatus::Refused
        } else {
            return None;
        };
        Some((status, known.named_task_uuid))
    }
}

type StatusAndRow = (RegistrationStatus, Uuid);

/// The result of each template, and the registration that its name had before.
type Registered = (Vec<StatusAndRow>, Vec<Option<Known>>);

/// Registers all of `templates` or none, in one transaction. Names must not repeat.
///
/// Templates that `index` contains are neither looked up in PostgreSQL nor sent. It must be a snapshot
/// that is no older than the request to register.
///
/// With `on_changed`, registrations under the same names are looked up first, retired ones included, and
/// outcomes have their hashes. Without it, documents are always replaced, and cached ones are deleted even
/// if they are the same.
pub(super) async fn register(
    pool: &PgPool,
    templates: Vec<CheckedTemplate>,
    index: Option<&Snapshot>,
    on_changed: Option<OnChangedVersion>,
) -> Result<BatchOutcome, RegistryError> {
    let replaces = on_changed != Some(OnChangedVersion::Refuse);
    let known: Vec<Option<Known>> = templates
        .iter()
        .map(|template| template.look_up(index?))
        .collect();
    let decided: Option<Vec<StatusAndRow>> = templates
        .iter()
        .zip(&known)
        .map(|(template, known)| template.decide(*known, replaces))
        .collect();
    let all_in_index = decided.is_some();
    let templates: Arc<[CheckedTemplate]> = templates.into();
    let mut attempts = 0;
    let (results, known) = if let Some(decided) = decided {
        (decided, known)
    } else {
        let bytes: usize = templates.iter().map(|one| one.document.len()).sum();
        let asks_first = index.is_none() && (on_changed.is_some() || bytes > ASK_FIRST_BYTES);
        // Registering is idempotent, so it may be tried again on another connection.
        database::run_idempotent(pool, LIMIT, |connection| {
            attempts += 1;
            register_on(
                connection,
                Arc::clone(&templates),
                known.clone(),
                asks_first,
                on_changed,
            )
        })
        .await
        .inspect_err(|_| count("failed", templates.len()))?
    };
    for &counted in RegistrationStatus::VARIANTS {
        let of_status = results.iter().filter(|(status, _)| *status == counted);
        count(counted.label(), of_status.count());
    }
    let outcomes = templates.iter().zip(results.into_iter().zip(known)).map(
        |(template, ((status, named_task_uuid), known))| RegistrationOutcome {
            namespace: template.namespace.clone(),
            name: template.name.clone(),
            version: template.version.clone(),
            status,
            named_task_uuid,
            hash: template.hash,
            is_retired: known.is_some_and(|known| known.is_retired),
            other_hash: known
                .map(|known| known.hash)
                .filter(|hash| *hash != template.hash),
            file: template.file.clone(),
        },
    );
    Ok(BatchOutcome {
        outcomes: outcomes.collect(),
        invalidates_unchanged: on_changed.is_none() || attempts > 1,
        all_in_index,
    })
}

fn count(status: &'static str, templates: usize) {
    if templates > 0 {
        let templates = u64::try_from(templates).unwrap_or(u64::MAX);
        metrics::counter!(TEMPLATE_REGISTRATIONS.name, "status" => status).increment(templates);
    }
}

fn register_on(
    connection: &mut PgConnection,
    templates: Arc<[CheckedTemplate]>,
    mut known: Vec<Option<Known>>,
    asks_first: bool,
    on_changed: Option<OnChangedVersion>,
) -> BoxFuture<'_, Result<Registered, sqlx::Error>> {
    let replaces = on_changed != Some(OnChangedVersion::Refuse);
    Box::pin(async move {
        if asks_first {
            look_up(connection, &templates, &mut known).await?;
        }
        if on_changed.is_some() {
            look_up_retired(connection, &templates, &mut known).await?;
        }
        let mut results: Vec<Option<StatusAndRow>> = templates
            .iter()
            .zip(&known)
            .map(|(template, known)| template.decide(*known, replaces))
            .collect();
        let rest: Vec<usize> = (0..templates.len())
            .filter(|item| results[*item].is_none())
            .collect();
        match *statements(&templates, &rest) {
            [] => {}
            [items] => write(connection, &templates, items, &mut results).await?,
            ref statements => {
                let mut transaction = connection.begin().await?;
                for items in statements {
                    write(&mut transaction, &templates, items, &mut results).await?;
                }
                transaction.commit().await?;
            }
        }
        let results: Option<Vec<StatusAndRow>> = results.into_iter().collect();
        Ok((results.ok_or(sqlx::Error::RowNotFound)?, known))
    })
}

/// Cuts `items` so that no statement carries too much.
fn statements<'a>(templates: &[CheckedTemplate], items: &'a [usize]) -> Vec<&'a [usize]> {
    let mut bytes = 0;
    items
        .chunk_by(|before, after| {
            bytes += templates[*before].document.len();
            let fits = bytes + templates[*after].document.len() <= STATEMENT_BYTES;
            if !fits {
                bytes = 0;
            }
            fits
        })
        .collect()
}

/// Looks up what PostgreSQL has under the names of `templates`. Sends hashes, not documents.
async fn look_up(
    connection: &mut PgConnection,
    templates: &[CheckedTemplate],
    known: &mut [Option<Known>],
) -> Result<(), sqlx::Error> {
    let templates: Vec<&CheckedTemplate> = templates.iter().collect();
    let columns = Columns::new(&templates);
    let hashes: Vec<String> = templates.iter().map(|one| one.hash.to_string()).collect();
    let rows = sqlx::query!(
        r#"
        SELECT i.item AS "item!", t.named_task_uuid AS "named_task_uuid!",
               v.content_hash AS "content_hash!",
               v.content_hash = i.hash
                   AND t.description IS NOT DISTINCT FROM i.description
                   AND (i.strategy IS NULL OR t.identity_strategy::text = i.strategy) AS "is_same!"
        -- The hash has its column's type, because comparing texts would convert each row.
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                    $6::text[]::bpchar[])
            WITH ORDINALITY
            AS i (namespace, name, version, description, strategy, hash, item)
        JOIN tasker.template_versions v
            ON v.namespace = i.namespace AND v.name = i.name AND v.version = i.version
        JOIN tasker.named_tasks t ON t.named_task_uuid = v.named_task_uuid
        WHERE v.content_hash IS NOT NULL
        "#,
        &columns.namespaces as &[&str],
        &columns.names as &[&str],
        &columns.versions as &[&str],
        &columns.descriptions as &[Option<&str>],
        &columns.strategies as &[Option<&str>],
        &hashes,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let known = index_of(row.item).and_then(|index| known.get_mut(index));
        if let (Some(known), Ok(hash)) = (known, row.content_hash.parse()) {
            *known = Some(Known {
                hash,
                named_task_uuid: row.named_task_uuid,
                is_same: row.is_same,
                is_retired: false,
            });
        }
    }
    Ok(())
}

/// Looks up which of the unknown `templates` are retired. These have no pointer.
async fn look_up_retired(
    connection: &mut PgConnection,
    templates: &[CheckedTemplate],
    known: &mut [Option<Known>],
) -> Result<(), sqlx::Error> {
    let unknown = known
        .iter()
        .enumerate()
        .filter(|(_, known)| known.is_none());
    let items: Vec<usize> = unknown.map(|(item, _)| item).collect();
    if items.is_empty() {
        return Ok(());
    }
    let asked: Vec<&CheckedTemplate> = items.iter().map(|item| &templates[*item]).collect();
    let columns = Columns::new(&asked);
    let rows = sqlx::query!(
        r#"
        SELECT i.item AS "item!", t.named_task_uuid AS "named_task_uuid!",
               tasker.template_hash(t.configuration) AS "content_hash!"
        FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
            AS i (namespace, name, version, item)
        JOIN tasker.task_namespaces n ON n.name = i.namespace
        JOIN tasker.named_tasks t
            ON t.task_namespace_uuid = n.task_namespace_uuid
                AND t.name = i.name AND t.version = i.version
        WHERE t.retired_at IS NOT NULL
        "#,
        &columns.namespaces as &[&str],
        &columns.names as &[&str],
        &columns.versions as &[&str],
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let item = index_of(row.item).and_then(|index| items.get(index));
        if let (Some(item), Ok(hash)) = (item, row.content_hash.parse()) {
            known[*item] = Some(Known {
                hash,
                named_task_uuid: row.named_task_uuid,
                // Its other columns are not compared.
                is_same: false,
                is_retired: true,
            });
        }
    }
    Ok(())
}

/// Writes `items` of `templates`, and sets their results.
async fn write(
    connection: &mut PgConnection,
    templates: &[CheckedTemplate],
    items: &[usize],
    results: &mut [Option<StatusAndRow>],
) -> Result<(), sqlx::Error> {
    let batch: Vec<&CheckedTemplate> = items.iter().map(|item| &templates[*item]).collect();
    let columns = Columns::new(&batch);
    let documents: Vec<&str> = batch.iter().map(|one| one.document.as_str()).collect();
    // Made here, because PostgreSQL before 18 takes about 5 us for each.
    let uuids: Vec<Uuid> = items.iter().map(|_| Uuid::now_v7()).collect();
    let files = batch.iter().filter_map(|one| {
        let name = format!("{}/{}/{}", one.namespace, one.name, one.version);
        Some((name, one.file.as_deref()?))
    });
    let rows = sqlx::query!(
        r#"
        SELECT item AS "item!", status AS "status!", named_task_uuid AS "named_task_uuid!",
               -- For the history, whose trigger runs when this commits.
               (SELECT set_config('tasker.template_source', $8, true)) AS source
        FROM tasker.register_templates($1, $2, $3, $4, $5, $6, $7)
        "#,
        &uuids,
        &columns.namespaces as &[&str],
        &columns.names as &[&str],
        &columns.versions as &[&str],
        &columns.descriptions as &[Option<&str>],
        &columns.strategies as &[Option<&str>],
        &documents as &[&str],
        source::of(files),
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let status = match row.status.as_str() {
            "created" => RegistrationStatus::Created,
            "updated" => RegistrationStatus::Updated,
            _ => RegistrationStatus::Unchanged,
        };
        if let Some(item) = index_of(row.item).and_then(|index| items.get(index)) {
            results[*item] = Some((status, row.named_task_uuid));
        }
    }
    Ok(())
}

/// The parallel arrays that both statements take.
struct Columns<'a> {
    namespaces: Vec<&'a str>,
    names: Vec<&'a str>,
    versions: Vec<&'a str>,
    descriptions: Vec<Option<&'a str>>,
    strategies: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn new(templates: &[&'a CheckedTemplate]) -> Self {
        let all = || templates.iter();
        Self {
            namespaces: all().map(|one| one.namespace.as_str()).collect(),
            names: all().map(|one| one.name.as_str()).collect(),
            versions: all().map(|one| one.version.as_str()).collect(),
            descriptions: all().map(|one| one.description.as_deref()).collect(),
            strategies: all().map(|one| one.strategy).collect(),
        }
    }
}

/// Returns the index of an item that PostgreSQL counts from 1.
fn index_of(item: i64) -> Option<usize> {
    usize::try_from(item).ok()?.checked_sub(1)
}

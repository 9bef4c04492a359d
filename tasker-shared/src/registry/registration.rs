//! Registering templates: the write path.
//!
//! Of a large batch only those documents are sent whose hash is not the registered one. Which ones
//! these are, the directory knows where it is at hand; else PostgreSQL is first told the hashes. We
//! compute these hashes; the registered ones are PostgreSQL's own. If the two ever computed different
//! ones, a document would be sent that is there already, and PostgreSQL, which compares what it has
//! stored, would find it unchanged.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::RegistryError;
use super::index::{Snapshot, TemplateName};
use super::known_files::Marks;
use super::submission::{Content, Submission};
use crate::database;
use crate::metrics::TEMPLATE_REGISTRATIONS;

/// How long registering a batch may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The most that one statement carries; a larger batch takes several, in one transaction.
const STATEMENT_BYTES: usize = 32 * 1024 * 1024;
/// A batch of fewer bytes is sent without asking first what of it is registered already: sending
/// it costs less than the question.
const UNASKED_BYTES: usize = 64 * 1024;

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
    /// What was registered, in the same order.
    templates: Vec<Arc<[Submission]>>,
    /// The statement was sent more than once, as after its connection was lost: what is told as
    /// unchanged may have been written by the first.
    retried: bool,
    /// All of it was found in the directory, and PostgreSQL was not asked.
    known: bool,
}

impl Registered {
    /// The names that point elsewhere than before, as far as that can be told.
    pub(super) fn written(&self) -> impl Iterator<Item = TemplateName<'_>> {
        self.registrations
            .iter()
            .filter(|one| self.retried || one.status != RegistrationStatus::Unchanged)
            .map(Registration::template_name)
    }

    /// Whether the directory had all of it as it is.
    pub(super) fn was_known(&self) -> bool {
        self.known
    }

    /// What was registered, and why it was not.
    pub(super) fn and_error(
        registered: Result<Self, RegistryError>,
    ) -> (Self, Result<(), RegistryError>) {
        match registered {
            Ok(registered) => (registered, Ok(())),
            Err(error) => (Self::default(), Err(error)),
        }
    }

    /// Of what was registered already as it is, and was read from a file: its row, and the marks of
    /// that file.
    pub(super) fn unchanged_from_files(&self) -> impl Iterator<Item = (Uuid, Marks)> {
        let both = self.registrations.iter().zip(self.templates());
        both.filter(|(registration, _)| registration.status == RegistrationStatus::Unchanged)
            .filter_map(|(registration, template)| {
                Some((registration.named_task_uuid, template.marks?))
            })
    }

    fn templates(&self) -> impl Iterator<Item = &Submission> {
        self.templates.iter().flat_map(|templates| &**templates)
    }

    /// This, and what another batch came to.
    pub(super) fn followed_by(mut self, other: Self) -> Self {
        self.registrations.extend(other.registrations);
        self.templates.extend(other.templates);
        self.retried |= other.retried;
        self.known &= other.known;
        self
    }

    /// Whether this picture has exactly what was registered.
    pub(super) fn is_in(&self, snapshot: &Snapshot) -> bool {
        let mut both = self.registrations.iter().zip(self.templates());
        both.all(|(registration, template)| {
            snapshot
                .get(registration.template_name())
                .is_some_and(|entry| {
                    entry.pointer.hash == template.hash
                        && entry.pointer.named_task_uuid == registration.named_task_uuid
                })
        })
    }
}

/// Registers all of `templates` or none. Names must not repeat.
///
/// `known` is a picture of what is registered, not older than the request to register them. What it
/// has as it is, PostgreSQL is neither asked about nor sent.
pub(super) async fn register(
    pool: &PgPool,
    templates: Vec<Submission>,
    known: Option<&Snapshot>,
) -> Result<Registered, RegistryError> {
    if templates.is_empty() {
        return Ok(Registered::default());
    }
    let templates: Arc<[Submission]> = templates.into();
    let in_directory = |template: &Submission| unchanged(template, known?);
    let all_known = templates
        .iter()
        .all(|template| in_directory(template).is_some());
    let found: Vec<Option<Written>> = templates
        .iter()
        .map(|template| in_directory(template).or_else(|| registered_before(template)))
        .collect();
    let mut attempts = 0;
    let written = if found.iter().all(Option::is_some) {
        Ok(found.into_iter().flatten().collect())
    } else {
        let asks = known.is_none();
        // Registering is idempotent, so it may be tried again on another connection.
        database::read(pool, LIMIT, |connection| {
            attempts += 1;
            write_all(connection, Arc::clone(&templates), found.clone(), asks)
        })
        .await
    };
    let written: Vec<Written> = match written {
        Ok(written) => written,
        Err(error) => {
            count("failed", templates.len());
            return Err(error.into());
        }
    };
    for status in [
        RegistrationStatus::Created,
        RegistrationStatus::Updated,
        RegistrationStatus::Unchanged,
    ] {
        let of_it = written.iter().filter(|(written, _)| *written == status);
        count(status.label(), of_it.count());
    }
    let registrations =
        templates
            .iter()
            .zip(written)
            .map(|(template, (status, named_task_uuid))| Registration {
                namespace: template.namespace.clone(),
                name: template.name.clone(),
                version: template.version.clone(),
                status,
                named_task_uuid,
            });
    let registrations: Vec<Registration> = registrations.collect();
    Ok(Registered {
        registrations,
        templates: vec![templates],
        retried: attempts > 1,
        known: all_known,
    })
}

/// What registering `template` comes to if this picture has it as it is.
pub(super) fn unchanged(template: &Submission, known: &Snapshot) -> Option<Written> {
    let pointer = &known.get(template.template_name())?.pointer;
    let is_same = pointer.hash == template.hash
        && template
            .strategy
            .is_none_or(|strategy| strategy == pointer.identity_strategy.name());
    is_same.then_some((RegistrationStatus::Unchanged, pointer.named_task_uuid))
}

/// What registering `template` comes to if PostgreSQL has been asked.
fn registered_before(template: &Submission) -> Option<Written> {
    match template.content {
        Content::Registered(uuid) => Some((RegistrationStatus::Unchanged, uuid)),
        Content::Document(_) => None,
    }
}

pub(super) fn count(status: &'static str, templates: usize) {
    if templates > 0 {
        let templates = u64::try_from(templates).unwrap_or(u64::MAX);
        metrics::counter!(TEMPLATE_REGISTRATIONS.name, "status" => status).increment(templates);
    }
}

type Written = (RegistrationStatus, Uuid);

fn write_all(
    connection: &mut PgConnection,
    templates: Arc<[Submission]>,
    mut written: Vec<Option<Written>>,
    asks: bool,
) -> BoxFuture<'_, Result<Vec<Written>, sqlx::Error>> {
    Box::pin(async move {
        let bytes: usize = templates.iter().map(Submission::bytes).sum();
        if asks && bytes > UNASKED_BYTES {
            registered(connection, &templates, &mut written).await?;
        }
        let rest: Vec<usize> = (0..templates.len())
            .filter(|item| written[*item].is_none())
            .collect();
        match *batches(&templates, &rest) {
            [] => {}
            [batch] => write(connection, &templates, batch, &mut written).await?,
            ref batches => {
                let mut transaction = connection.begin().await?;
                for batch in batches {
                    write(&mut transaction, &templates, batch, &mut written).await?;
                }
                transaction.commit().await?;
            }
        }
        written
            .into_iter()
            .map(|written| written.ok_or(sqlx::Error::RowNotFound))
            .collect()
    })
}

/// Cuts `items` so that no statement carries too much.
fn batches<'a>(templates: &[Submission], items: &'a [usize]) -> Vec<&'a [usize]> {
    let mut bytes = 0;
    items
        .chunk_by(|before, after| {
            bytes += templates[*before].bytes();
            let fits = bytes + templates[*after].bytes() <= STATEMENT_BYTES;
            if !fits {
                bytes = 0;
            }
            fits
        })
        .collect()
}

/// Notes which of `templates` are registered already as they are.
async fn registered(
    connection: &mut PgConnection,
    templates: &[Submission],
    written: &mut [Option<Written>],
) -> Result<(), sqlx::Error> {
    let namespaces: Vec<&str> = column(templates, |template| template.namespace.as_str());
    let names: Vec<&str> = column(templates, |template| template.name.as_str());
    let versions: Vec<&str> = column(templates, |template| template.version.as_str());
    let descriptions: Vec<Option<&str>> =
        column(templates, |template| template.description.as_deref());
    let strategies: Vec<Option<&str>> = column(templates, |template| template.strategy);
    let hashes: Vec<String> = column(templates, |template| template.hash.to_string());
    let rows = sqlx::query!(
        r#"
        SELECT i.item AS "item!", t.named_task_uuid AS "named_task_uuid!"
        -- The hash as its column's type, which is compared without making a text of each.
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                    $6::text[]::bpchar[])
            WITH ORDINALITY
            AS i (namespace, name, version, description, strategy, hash, item)
        JOIN tasker.template_versions v
            ON v.namespace = i.namespace AND v.name = i.name AND v.version = i.version
        JOIN tasker.named_tasks t ON t.named_task_uuid = v.named_task_uuid
        WHERE v.content_hash = i.hash
            AND t.description IS NOT DISTINCT FROM i.description
            AND (i.strategy IS NULL OR t.identity_strategy::text = i.strategy)
        "#,
        &namespaces as &[&str],
        &names as &[&str],
        &versions as &[&str],
        &descriptions as &[Option<&str>],
        &strategies as &[Option<&str>],
        &hashes,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        if let Some(written) = place(row.item).and_then(|place| written.get_mut(place)) {
            *written = Some((RegistrationStatus::Unchanged, row.named_task_uuid));
        }
    }
    Ok(())
}

/// Writes `items` of `templates`, and notes what became of them.
async fn write(
    connection: &mut PgConnection,
    templates: &[Submission],
    items: &[usize],
    written: &mut [Option<Written>],
) -> Result<(), sqlx::Error> {
    let batch: Vec<&Submission> = items.iter().map(|item| &templates[*item]).collect();
    // Made here: PostgreSQL before 18 takes some 5 us for each, and has to look up those that it made.
    let uuids: Vec<Uuid> = column(&batch, |_| Uuid::now_v7());
    let namespaces: Vec<&str> = column(&batch, |template| template.namespace.as_str());
    let names: Vec<&str> = column(&batch, |template| template.name.as_str());
    let versions: Vec<&str> = column(&batch, |template| template.version.as_str());
    let descriptions: Vec<Option<&str>> =
        column(&batch, |template| template.description.as_deref());
    let strategies: Vec<Option<&str>> = column(&batch, |template| template.strategy);
    let configurations: Vec<&str> = column(&batch, Submission::document);
    let marks = |of: fn(&Marks) -> &[u8; 32]| -> Vec<Option<&[u8]>> {
        column(&batch, |template| {
            template.marks.as_ref().map(|marks| &of(marks)[..])
        })
    };
    let file_marks = marks(|marks| marks.file.as_bytes());
    let registered_marks = marks(|marks| marks.registered.as_bytes());
    let rows = sqlx::query!(
        r#"
        SELECT item AS "item!", status AS "status!", named_task_uuid AS "named_task_uuid!"
        FROM tasker.register_templates($1, $2, $3, $4, $5, $6, $7, $8, $9)
        "#,
        &uuids,
        &namespaces as &[&str],
        &names as &[&str],
        &versions as &[&str],
        &descriptions as &[Option<&str>],
        &strategies as &[Option<&str>],
        &configurations as &[&str],
        &file_marks as &[Option<&[u8]>],
        &registered_marks as &[Option<&[u8]>],
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let status = match row.status.as_str() {
            "created" => RegistrationStatus::Created,
            "updated" => RegistrationStatus::Updated,
            _ => RegistrationStatus::Unchanged,
        };
        if let Some(item) = place(row.item).and_then(|place| items.get(place)) {
            written[*item] = Some((status, row.named_task_uuid));
        }
    }
    Ok(())
}

/// PostgreSQL counts from 1.
fn place(item: i64) -> Option<usize> {
    usize::try_from(item).ok()?.checked_sub(1)
}

fn column<'a, S: std::borrow::Borrow<Submission>, T: 'a>(
    templates: &'a [S],
    of: impl Fn(&'a Submission) -> T,
) -> Vec<T> {
    templates
        .iter()
        .map(|template| of(template.borrow()))
        .collect()
}

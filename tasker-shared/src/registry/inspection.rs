//! Reports to operators which documents the tiers hold, and whether they are current.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::database_tier;
use super::errors::RegistryError;
use super::index::{Entry, TemplateIndex};
use super::load::Loader;
use crate::types::ContentHash;

/// The most templates that one answer lists.
pub const MAX_ENTRIES: usize = 1000;
/// The most templates that one answer verifies. Each costs a statement and a GET.
pub const MAX_VERIFIED: usize = 100;

/// Selects templates.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// Selects the templates of this namespace only.
    pub namespace: Option<String>,
    /// The number of templates to skip, in the order of names.
    pub offset: usize,
    /// The most templates to return.
    pub limit: usize,
    /// Also reads Redis and the database, and hashes the documents.
    pub verify: bool,
}

/// The cached templates of one process.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CacheEntries {
    /// True if this process caches templates.
    pub caching: bool,
    /// Time since the index's last successful poll was sent; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory_age_ms: Option<u64>,
    /// True if the index is within `max_staleness_ms` now.
    pub directory_fresh: bool,
    /// The number of templates in the index.
    pub total: usize,
    /// The error of Redis; absent if it answered or was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distributed_error: Option<String>,
    /// The templates, in the order of their names.
    pub entries: Vec<CacheEntry>,
}

/// One template in the index, in the tiers and in the database.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CacheEntry {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// The hash in the index.
    #[schema(value_type = String)]
    pub hash: ContentHash,
    /// The position of the commit that made it current.
    pub sequence: i64,
    /// The document in this process.
    pub local: TierEntry,
    /// The document in Redis; only with `verify`, and absent if Redis did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<TierEntry>,
    /// The state of the database; only with `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseEntry>,
}

/// The document that a tier holds of a template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct TierEntry {
    /// True if it holds a document.
    pub held: bool,
    /// The document's hash. With `verify` it is computed from the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hash: Option<ContentHash>,
    /// Time since this process loaded it, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// True if the document is current by the index or, with `verify`, by the database. A document
    /// that is not current is never used. Absent if none is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches_database: Option<bool>,
}

/// The state of a template in the database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct DatabaseEntry {
    /// The current hash; absent if the template is no longer registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hash: Option<ContentHash>,
    /// The position of the commit that made it current.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// True if the index has the same pointer, or none either. They may differ for as long as
    /// `max_staleness_ms`.
    pub matches_directory: bool,
}

/// Lists the selected templates of the index.
pub(super) async fn inspect(
    index: &TemplateIndex,
    loader: &Loader,
    inspection: &Inspection,
) -> Result<CacheEntries, RegistryError> {
    // The index of a process that resolves nothing may be older than its bound.
    index.refresh().await;
    let snapshot = index.snapshot_now();
    let namespace = inspection.namespace.as_deref();
    let mut selected: Vec<_> = snapshot
        .iter()
        .filter(|entry| namespace.is_none_or(|namespace| entry.name().namespace == namespace))
        .collect();
    selected.sort_by(|left, right| sort_key(left).cmp(&sort_key(right)));
    let most = if inspection.verify {
        MAX_VERIFIED
    } else {
        MAX_ENTRIES
    };
    let page = selected.into_iter().skip(inspection.offset);
    let mut entries = Vec::new();
    let mut distributed_error = None;
    for entry in page.take(inspection.limit.min(most)) {
        entries.push(if inspection.verify {
            // One after the other, so that requests keep the pool.
            verified(index, loader, entry, &mut distributed_error).await?
        } else {
            listed(loader, entry)
        });
    }
    Ok(CacheEntries {
        caching: true,
        directory_age_ms: index
            .age()
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        directory_fresh: index.is_fresh(),
        total: snapshot.len(),
        distributed_error,
        entries,
    })
}

fn sort_key(entry: &Entry) -> (&str, &str, &str) {
    let name = entry.name();
    (name.namespace, name.name, name.version)
}

/// Returns what the index and the local tier say.
fn listed(loader: &Loader, entry: &Entry) -> CacheEntry {
    let local = loader.local.get_with_age(entry);
    let local = local.map(|(metadata, age)| {
        TierEntry::held(Some(metadata.hash), Some(age), Some(entry.pointer.hash))
    });
    let name = entry.name();
    CacheEntry {
        namespace: name.namespace.to_owned(),
        name: name.name.to_owned(),
        version: name.version.to_owned(),
        hash: entry.pointer.hash,
        sequence: entry.pointer.sequence,
        local: local.unwrap_or_default(),
        redis: None,
        database: None,
    }
}

/// Hashes the documents that the tiers hold under the name of `entry`, and compares them and the
/// index with the database.
async fn verified(
    index: &TemplateIndex,
    loader: &Loader,
    entry: &Entry,
    distributed_error: &mut Option<String>,
) -> Result<CacheEntry, RegistryError> {
    let name = entry.name();
    let stored = database_tier::load(&loader.pool, name).await?;
    let stored = stored.map(|stored| stored.pointer);
    let current = stored.as_ref().map(|pointer| pointer.hash);
    let redis = match loader.redis.hash_of(name).await {
        Ok(None) => Some(TierEntry::default()),
        Ok(Some(hash)) => Some(TierEntry::held(hash, None, current)),
        Err(error) => {
            distributed_error.get_or_insert(error.to_string());
            None
        }
    };
    // The index may have changed since the entry was listed.
    let snapshot = index.snapshot_now();
    let known = snapshot.get(name);
    let local = known.and_then(|known| loader.local.get_with_age(known));
    let local = local.map(|(metadata, age)| {
        let hash = ContentHash::of(metadata.document.get());
        TierEntry::held(Some(hash), Some(age), current)
    });
    Ok(CacheEntry {
        local: local.unwrap_or_default(),
        redis,
        database: Some(DatabaseEntry {
            hash: current,
            sequence: stored.as_ref().map(|pointer| pointer.sequence),
            matches_directory: stored.as_ref() == known.map(|known| &known.pointer),
        }),
        ..listed(loader, known.map_or(entry, |known| known))
    })
}

impl TierEntry {
    fn held(
        hash: Option<ContentHash>,
        age: Option<Duration>,
        current: Option<ContentHash>,
    ) -> Self {
        Self {
            held: true,
            hash,
            age_seconds: age.map(|age| age.as_secs()),
            matches_database: Some(hash.is_some() && hash == current),
        }
    }
}

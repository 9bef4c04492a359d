//! What each tier holds of each template, and whether it agrees with the database: for operators.

use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::index::{Entry, TemplateName};
use super::local_tier::LocalTier;
use super::resolver::Resolver;
use super::{RegistryError, body};
use crate::types::ContentHash;

/// The most templates that one answer lists.
pub const MAX_ENTRIES: usize = 1000;
/// The most templates that one answer verifies: each costs a statement and a body from Redis.
pub const MAX_VERIFIED: usize = 100;

/// Which templates to look at.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// Only those of this namespace.
    pub namespace: Option<String>,
    /// How many to leave out at the beginning, in the order of names.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
    /// Whether to compare with the database and with whole bodies, there and then.
    pub verify: bool,
}

/// What the caches of one process hold.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CacheEntries {
    /// Whether this process caches templates at all.
    pub caching: bool,
    /// Time since the directory's last successful poll was sent; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory_age_ms: Option<u64>,
    /// Whether the directory is within `max_staleness_ms` now.
    pub directory_fresh: bool,
    /// How many templates the directory knows.
    pub total: usize,
    /// Why the distributed tier could not be asked; absent when it could.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distributed_error: Option<String>,
    /// The templates, in the order of their names.
    pub entries: Vec<CacheEntry>,
}

/// One template in the directory, the tiers and, if asked for, the database.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CacheEntry {
    /// The template's namespace.
    pub namespace: String,
    /// The template's name.
    pub name: String,
    /// The template's version.
    pub version: String,
    /// The hash that is current by the directory.
    #[schema(value_type = String)]
    pub hash: ContentHash,
    /// The commit that made it current.
    pub sequence: i64,
    /// The body in this process.
    pub local: TierEntry,
    /// The body in the distributed cache; absent when that could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<TierEntry>,
    /// What the database says now; only with `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseEntry>,
}

/// What a tier holds of a template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct TierEntry {
    /// Whether it holds a body.
    pub held: bool,
    /// The body's hash. With `verify` it is computed from the body, else it is what the tier says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hash: Option<ContentHash>,
    /// How long it has been held, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Whether it is the current body: by the directory or, with `verify`, by the database. A body
    /// that is not is never used. Absent when none is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches_database: Option<bool>,
}

/// What the database says of a template.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct DatabaseEntry {
    /// The current hash; absent when the template is not registered any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hash: Option<ContentHash>,
    /// The commit that made it current.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// Whether the directory has the same pointer, or none either. For as long as the bound it may
    /// have not.
    pub matches_directory: bool,
}

/// The hash that PostgreSQL computes for this body.
pub(super) fn content_hash(document: &str) -> ContentHash {
    ContentHash::from_bytes(Sha256::digest(document).into())
}

/// Looks at the caches of one process.
pub(super) async fn inspect(
    resolver: &Resolver,
    inspection: &Inspection,
) -> Result<CacheEntries, RegistryError> {
    let index = resolver.index();
    let snapshot = index.snapshot_now();
    let mut chosen: Vec<_> = snapshot
        .iter()
        .filter(|entry| {
            let namespace = inspection.namespace.as_deref();
            namespace.is_none_or(|namespace| entry.name().namespace == namespace)
        })
        .collect();
    let order = |entry: &Entry| {
        let TemplateName {
            namespace,
            name,
            version,
        } = entry.name();
        (namespace.to_owned(), name.to_owned(), version.to_owned())
    };
    chosen.sort_by_cached_key(|entry| order(entry));
    let most = if inspection.verify {
        MAX_VERIFIED
    } else {
        MAX_ENTRIES
    };
    let page: Vec<_> = chosen
        .iter()
        .skip(inspection.offset)
        .take(inspection.limit.min(most))
        .map(AsRef::as_ref)
        .collect();

    let peeked = resolver
        .distributed()
        .peek(page.iter().map(|entry| entry.name()))
        .await;
    let (mut distributed, mut distributed_error) = match peeked {
        Ok(entries) => (entries.into_iter().map(Some).collect(), None),
        Err(error) => (vec![None; page.len()], Some(error.to_string())),
    };
    let mut entries = Vec::with_capacity(page.len());
    for (entry, redis) in page.iter().zip(&mut distributed) {
        let name = entry.name();
        entries.push(CacheEntry {
            namespace: name.namespace.to_owned(),
            name: name.name.to_owned(),
            version: name.version.to_owned(),
            hash: entry.pointer.hash,
            sequence: entry.pointer.sequence,
            local: local(entry),
            redis: redis
                .take()
                .map(|redis| matched(redis, Some(entry.pointer.hash))),
            database: None,
        });
    }
    if inspection.verify {
        // One after the other: an operator's question must not take the pool from the requests.
        for entry in &mut entries {
            verify(resolver, entry, &mut distributed_error).await?;
        }
    }
    Ok(CacheEntries {
        caching: true,
        directory_age_ms: index.age().map(millis),
        directory_fresh: index.is_fresh(),
        total: snapshot.len(),
        distributed_error,
        entries,
    })
}

fn local(entry: &Entry) -> TierEntry {
    let Some((metadata, age)) = LocalTier::peek(entry) else {
        return TierEntry::default();
    };
    matched(held_locally(metadata.hash, age), Some(entry.pointer.hash))
}

fn held_locally(hash: ContentHash, age: Duration) -> TierEntry {
    TierEntry {
        held: true,
        hash: Some(hash),
        age_seconds: Some(age.as_secs()),
        matches_database: None,
    }
}

fn matched(tier: TierEntry, current: Option<ContentHash>) -> TierEntry {
    let matches_database = tier
        .held
        .then_some(tier.hash.is_some() && tier.hash == current);
    TierEntry {
        matches_database,
        ..tier
    }
}

// Compares the bodies themselves with the database and, as it is then, the directory.
async fn verify(
    resolver: &Resolver,
    reported: &mut CacheEntry,
    distributed_error: &mut Option<String>,
) -> Result<(), RegistryError> {
    let name = TemplateName {
        namespace: &reported.namespace,
        name: &reported.name,
        version: &reported.version,
    };
    let stored = body::load(resolver.connections(), name).await?;
    let stored = stored.as_ref().map(|stored| &stored.pointer);
    let current = stored.map(|pointer| pointer.hash);
    if let Some(held) = reported.redis.filter(|redis| redis.held) {
        reported.redis = match resolver.distributed().read(name).await {
            Ok(Some(body)) => Some(TierEntry {
                hash: Some(content_hash(&body)),
                ..held
            }),
            Ok(None) => Some(TierEntry::default()),
            Err(error) => {
                distributed_error.get_or_insert(error.to_string());
                None
            }
        };
    }
    reported.redis = reported.redis.map(|redis| matched(redis, current));
    let snapshot = resolver.index().snapshot();
    let entry = snapshot.get(name);
    let local = match entry.and_then(|entry| LocalTier::peek(entry)) {
        Some((metadata, age)) => held_locally(content_hash(metadata.document.get()), age),
        None => TierEntry::default(),
    };
    reported.local = matched(local, current);
    reported.database = Some(DatabaseEntry {
        hash: current,
        sequence: stored.map(|pointer| pointer.sequence),
        matches_directory: stored == entry.map(|entry| &entry.pointer),
    });
    if let Some(entry) = entry {
        reported.hash = entry.pointer.hash;
        reported.sequence = entry.pointer.sequence;
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

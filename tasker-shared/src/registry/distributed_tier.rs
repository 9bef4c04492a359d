//! Bodies in the distributed cache, for all processes together.
//!
//! An entry is two JSON documents with a line end between them: a header that says whose body it
//! is and what hash it has, and the body as PostgreSQL wrote it. The body is taken over without
//! being copied through another representation, and is parsed once.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::debug;

use super::body::Text;
use super::index::{Entry, TemplateName};
use super::inspection::TierEntry;
use crate::cache::{CacheError, CacheProvider, CacheService, Peek, keys};
use crate::config::tasker::{CacheConfig, CacheEntryKind};
use crate::metrics::{CACHE_BAD_ANSWERS, TEMPLATE_FILLS};
use crate::types::{CacheInvalidation, ContentHash};

const KIND: &str = "task_template";
/// The format of entries that this release writes and reads.
const FORMAT: u32 = 1;
/// More than a header can have: names are limited.
const HEADER_BYTES: usize = 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Header<'a> {
    format: u32,
    #[serde(borrow)]
    namespace: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    version: std::borrow::Cow<'a, str>,
    hash: ContentHash,
}

/// What stands before the body of `entry`.
fn header(entry: &Entry) -> String {
    let name = entry.name();
    let header = Header {
        format: FORMAT,
        namespace: name.namespace.into(),
        name: name.name.into(),
        version: name.version.into(),
        hash: entry.pointer.hash,
    };
    serde_json::to_string(&header).expect("texts and numbers are JSON")
}

impl Header<'_> {
    fn name(&self) -> TemplateName<'_> {
        TemplateName {
            namespace: &self.namespace,
            name: &self.name,
            version: &self.version,
        }
    }
}

/// What the distributed tier has under a name.
#[derive(Debug)]
pub(super) enum Found {
    /// The body with the hash that was asked for, behind the header that it came with.
    Body(Text),
    /// Nothing, or nothing that can be used.
    Nothing,
}

/// The distributed tier. None of its methods fails a request.
#[derive(Debug, Clone)]
pub(super) struct DistributedTier {
    provider: Arc<CacheProvider>,
    prefix: Arc<str>,
    ttl: Duration,
}

impl DistributedTier {
    pub(super) fn new(provider: Arc<CacheProvider>, config: &CacheConfig) -> Self {
        Self {
            provider,
            prefix: config.key_prefix.as_str().into(),
            ttl: config.ttl(CacheEntryKind::Template),
        }
    }

    pub(super) fn provider(&self) -> &Arc<CacheProvider> {
        &self.provider
    }

    fn key(&self, name: TemplateName<'_>) -> String {
        keys::key(
            &self.prefix,
            KIND,
            &[name.namespace, name.name, name.version],
        )
    }

    /// The body of `entry`, if the cache holds it with the hash that the entry names.
    pub(super) async fn get(&self, entry: &Entry) -> Found {
        if !self.provider.is_enabled() {
            return Found::Nothing;
        }
        match self.provider.get(&self.key(entry.name())).await {
            Ok(Some(value)) => open(entry, value),
            // The provider has logged and counted the error.
            Ok(None) | Err(_) => Found::Nothing,
        }
    }

    /// What the cache says that it holds under each of these names, read from the headers alone.
    pub(super) async fn peek<'a>(
        &self,
        names: impl Iterator<Item = TemplateName<'a>>,
    ) -> Result<Vec<TierEntry>, CacheError> {
        let keys: Vec<String> = names.map(|name| self.key(name)).collect();
        let peeks = self.provider.peek(&keys, HEADER_BYTES).await?;
        Ok(peeks
            .into_iter()
            .map(|peek| self.tier_entry(peek))
            .collect())
    }

    fn tier_entry(&self, peek: Option<Peek>) -> TierEntry {
        let Some(peek) = peek else {
            return TierEntry::default();
        };
        let header = peek.head.split_once('\n').map(|(header, _)| header);
        let hash = header
            .and_then(|header| serde_json::from_str::<Header<'_>>(header).ok())
            .map(|header| header.hash);
        TierEntry {
            held: true,
            hash,
            age_seconds: peek
                .expires_in
                .map(|left| self.ttl.saturating_sub(left).as_secs()),
            matches_database: None,
        }
    }

    /// The body under a name, whatever its hash: empty if what is there has none.
    pub(super) async fn read(&self, name: TemplateName<'_>) -> Result<Option<String>, CacheError> {
        let value = self.provider.get(&self.key(name)).await?;
        let body = |value: String| {
            value
                .split_once('\n')
                .map_or("", |(_, body)| body)
                .to_owned()
        };
        Ok(value.map(body))
    }

    /// Hands a body over to be written in the background.
    pub(super) fn fill(&self, entry: &Entry, document: &str) {
        if !self.provider.is_enabled() {
            return;
        }
        let name = entry.name();
        let header = header(entry);
        metrics::counter!(TEMPLATE_FILLS.name, "result" => "queued").increment(1);
        self.provider
            .fill(self.key(name), format!("{header}\n{document}"), self.ttl);
    }

    /// Deletes one name's entry.
    pub(super) async fn delete(&self, name: TemplateName<'_>) -> CacheInvalidation {
        self.told(self.provider.delete(&self.key(name)).await.map(u64::from))
    }

    /// Deletes the entries of exactly these names, in few round trips.
    pub(super) async fn delete_names<'a>(
        &self,
        names: impl Iterator<Item = TemplateName<'a>>,
    ) -> CacheInvalidation {
        let keys: Vec<String> = names.map(|name| self.key(name)).collect();
        if keys.is_empty() || !self.provider.is_enabled() {
            return CacheInvalidation {
                attempted: self.provider.is_enabled(),
                ..Default::default()
            };
        }
        self.told(self.provider.delete_many(&keys).await)
    }

    /// Deletes whatever there is below a namespace, or below all.
    pub(super) async fn sweep(&self, namespace: Option<&str>) -> CacheInvalidation {
        let parts: &[&str] = match &namespace {
            Some(namespace) => &[namespace],
            None => &[],
        };
        self.told(
            self.provider
                .delete_pattern(&keys::pattern(&self.prefix, KIND, parts))
                .await,
        )
    }

    fn told(&self, deleted: Result<u64, CacheError>) -> CacheInvalidation {
        match deleted {
            Ok(deleted) => CacheInvalidation {
                attempted: self.provider.is_enabled(),
                deleted,
                error: None,
            },
            Err(error) => {
                debug!(%error, "cached templates could not be deleted; their hashes keep them from use");
                CacheInvalidation {
                    attempted: true,
                    deleted: 0,
                    error: Some(error.to_string()),
                }
            }
        }
    }
}

// The one place that decides whether a distributed entry is a hit.
fn open(entry: &Entry, value: String) -> Found {
    if let Some(start) = after_usual_header(entry, &value) {
        return Found::Body(Text {
            text: value.into(),
            start,
        });
    }
    let kind = match value.split_once('\n') {
        None => "garbage",
        Some((header, _)) => match serde_json::from_str::<Header<'_>>(header) {
            Err(_) => "garbage",
            Ok(header) if header.format != FORMAT => "format",
            Ok(header) if header.name() != entry.name() => "other_name",
            Ok(header) if header.hash != entry.pointer.hash => {
                // Old, or newer than the directory: either way nothing is wrong with it.
                metrics::counter!(TEMPLATE_FILLS.name, "result" => "useless").increment(1);
                return Found::Nothing;
            }
            Ok(_) => {
                let start = header.len() + 1;
                return Found::Body(Text {
                    text: value.into(),
                    start,
                });
            }
        },
    };
    bad_entry(entry, kind);
    Found::Nothing
}

/// Where the body begins, if what is before it is to the letter what this release writes for `entry`:
/// then it need not be read as JSON. Names that JSON has to escape are not found here.
fn after_usual_header(entry: &Entry, value: &str) -> Option<usize> {
    let TemplateName {
        namespace,
        name,
        version,
    } = entry.name();
    let mut digits = [0; 64];
    let parts = [
        "{\"format\":1,\"namespace\":\"",
        namespace,
        "\",\"name\":\"",
        name,
        "\",\"version\":\"",
        version,
        "\",\"hash\":\"",
        entry.pointer.hash.write_digits(&mut digits),
        "\"}\n",
    ];
    let mut rest = value;
    for part in parts {
        rest = rest.strip_prefix(part)?;
    }
    Some(value.len() - rest.len())
}

/// Counts an entry that cannot be used, and says so once for each registration of a name; the load
/// that follows replaces it, if the cache accepts writes.
pub(super) fn bad_entry(entry: &Entry, kind: &'static str) {
    metrics::counter!(CACHE_BAD_ANSWERS.name, "kind" => kind).increment(1);
    if !entry.note_told_bad() {
        return;
    }
    let name = entry.name();
    tracing::warn!(
        namespace = name.namespace,
        name = name.name,
        version = name.version,
        kind,
        "a cached template cannot be used and is replaced"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;
    use uuid::Uuid;

    use super::{Found, after_usual_header, header, open};
    use crate::models::core::identity_strategy::IdentityStrategy;
    use crate::registry::index::{Change, Entry, Pointer, Snapshot};
    use crate::types::ContentHash;

    fn entry(name: &str, hash: u8) -> Arc<Entry> {
        let change = Change {
            namespace: String::from("payments"),
            name: name.to_owned(),
            version: String::from("1.0.0"),
            pointer: Some(Pointer {
                sequence: 1,
                hash: ContentHash::from_bytes([hash; 32]),
                named_task_uuid: Uuid::nil(),
                identity_strategy: IdentityStrategy::Strict,
                registered_at: DateTime::UNIX_EPOCH,
            }),
        };
        let (snapshot, _gone) = Snapshot::empty().with_changes([change]);
        snapshot
            .iter()
            .next()
            .expect("it is in the picture")
            .clone()
    }

    fn is_body(entry: &Entry, value: &str) -> bool {
        match open(entry, value.to_owned()) {
            Found::Body(body) => &body.text[body.start..] == "{}",
            Found::Nothing => false,
        }
    }

    #[test]
    fn what_this_release_writes_is_known_without_reading_it() {
        let refund = entry("refund", 7);
        let value = format!("{}\n{{}}", header(&refund));
        assert_eq!(after_usual_header(&refund, &value), Some(value.len() - 2));
        assert!(is_body(&refund, &value));
        for other in [entry("refund", 8), entry("refunds", 7), entry("refun", 7)] {
            assert_eq!(after_usual_header(&other, &value), None);
            assert!(!is_body(&other, &value));
        }
    }

    #[test]
    fn a_header_that_is_written_otherwise_is_read() {
        let quoted = entry("a\",\"name\":\"b", 7);
        let value = format!("{}\n{{}}", header(&quoted));
        assert_eq!(after_usual_header(&quoted, &value), None);
        assert!(is_body(&quoted, &value));

        let refund = entry("refund", 7);
        let spaced = format!("{}\n{{}}", header(&refund).replace(',', ", "));
        assert_eq!(after_usual_header(&refund, &spaced), None);
        assert!(is_body(&refund, &spaced));
        let newer = format!("{}\n{{}}", header(&refund).replace(":1,", ":2,"));
        assert!(!is_body(&refund, &newer));
    }
}

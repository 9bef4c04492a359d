//! Documents in Redis, for all processes together.
//!
//! The value under `{prefix}:task_template:{namespace}:{name}:{version}` is the JSON of
//! [`HandlerMetadata`]. When a value is read, only its document is used, and only if the SHA-256 of
//! the document is the hash in the index. A value that is old, damaged or forged therefore costs a
//! load from PostgreSQL, and never changes an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::{debug, warn};

use super::index::{Entry, TemplateName};
use crate::cache::{CacheError, CacheProvider, keys};
use crate::config::tasker::{CacheConfig, CacheEntryKind};
use crate::error_chain::Chain;
use crate::metrics::{CACHE_BAD_ANSWERS, TEMPLATE_FILLS};
use crate::types::{CacheInvalidation, ContentHash, HandlerMetadata};

const KIND: &str = "task_template";
/// The pause between two warnings of unusable values.
const WARNING_PAUSE: Duration = Duration::from_mins(1);

/// The Redis tier. None of its methods fails a request.
#[derive(Debug)]
pub(super) struct RedisTier {
    provider: Arc<CacheProvider>,
    prefix: String,
    ttl: Duration,
    /// The longest time that one request may wait for Redis in all.
    pub(super) limit: Duration,
    last_warning: Mutex<Option<Instant>>,
}

impl RedisTier {
    pub(super) fn new(provider: Arc<CacheProvider>, config: &CacheConfig) -> Self {
        Self {
            provider,
            prefix: config.key_prefix.clone(),
            ttl: config.ttl(CacheEntryKind::Template),
            limit: Duration::from_millis(config.operation_timeout_ms),
            last_warning: Mutex::default(),
        }
    }

    /// Returns whether Redis is in use now.
    pub(super) fn is_enabled(&self) -> bool {
        self.provider.is_enabled()
    }

    fn key(&self, name: TemplateName<'_>) -> String {
        let parts = [name.namespace, name.name, name.version];
        keys::key(&self.prefix, KIND, &parts)
    }

    /// Returns the document that `entry` points to.
    pub(super) async fn get(&self, entry: &Entry) -> Option<Arc<str>> {
        if !self.is_enabled() {
            return None;
        }
        // The provider logs and counts its errors.
        let value = self.provider.get(&self.key(entry.name())).await.ok()??;
        match document_with_hash(&value, entry.pointer.hash) {
            Ok(document) => Some(document.into()),
            Err(unusable) => {
                self.report(entry.name(), unusable);
                None
            }
        }
    }

    /// Returns the hash of the document under a name, computed from its bytes. The inner `None`
    /// means that the value under the name has no document.
    pub(super) async fn hash_of(
        &self,
        name: TemplateName<'_>,
    ) -> Result<Option<Option<ContentHash>>, CacheError> {
        let value = self.provider.get(&self.key(name)).await?;
        Ok(value.map(|value| {
            let value: Value<'_> = serde_json::from_str(&value).ok()?;
            Some(ContentHash::of(value.document.get()))
        }))
    }

    /// Writes a document, and waits for the answer until `limit` has passed. One that was sent until then
    /// may be written later.
    pub(super) async fn fill(&self, metadata: &HandlerMetadata, limit: Duration) {
        if !self.is_enabled() {
            return;
        }
        let name = TemplateName {
            namespace: &metadata.namespace,
            name: &metadata.name,
            version: &metadata.version,
        };
        let value = match serde_json::to_string(metadata) {
            Ok(value) => value,
            Err(error) => {
                debug!(%error, "a template is not written to Redis");
                return;
            }
        };
        let key = self.key(name);
        let writing = self.provider.set(&key, &value, self.ttl);
        // The provider logs and counts its errors, but not that `limit` was over before its own.
        let result = match tokio::time::timeout(limit, writing).await {
            Ok(Ok(())) => "written",
            Ok(Err(CacheError::ConnectionError(_))) => "unavailable",
            Ok(Err(_)) => "failed",
            Err(_elapsed) => "unconfirmed",
        };
        metrics::counter!(TEMPLATE_FILLS.name, "result" => result).increment(1);
    }

    /// Deletes the value of one name.
    pub(super) async fn delete(&self, name: TemplateName<'_>) -> CacheInvalidation {
        self.invalidation(self.provider.delete(&self.key(name)).await.map(u64::from))
    }

    /// Deletes the values of exactly these names, in few round trips.
    pub(super) async fn delete_names<'a>(
        &self,
        names: impl Iterator<Item = TemplateName<'a>>,
    ) -> CacheInvalidation {
        let keys: Vec<String> = names.map(|name| self.key(name)).collect();
        let deleted = if keys.is_empty() || !self.is_enabled() {
            Ok(0)
        } else {
            self.provider.delete_many(&keys).await
        };
        self.invalidation(deleted)
    }

    /// Deletes the values of a namespace, or all, by scanning the keys, within `limit`.
    pub(super) async fn sweep(
        &self,
        namespace: Option<&str>,
        limit: Duration,
    ) -> CacheInvalidation {
        let pattern = keys::pattern(&self.prefix, KIND, namespace.as_slice());
        let (deleted, outcome) = self.provider.sweep(&pattern, limit).await;
        CacheInvalidation {
            deleted,
            ..self.invalidation(outcome.map(|()| deleted))
        }
    }

    fn invalidation(&self, deleted: Result<u64, CacheError>) -> CacheInvalidation {
        match deleted {
            Ok(deleted) => CacheInvalidation {
                attempted: self.is_enabled(),
                deleted,
                error: None,
            },
            Err(error) => {
                debug!(%error, "cached templates were not deleted; their hashes keep them from use");
                CacheInvalidation {
                    attempted: true,
                    deleted: 0,
                    error: Some(Chain(&error).to_string()),
                }
            }
        }
    }

    /// Counts a value that was not used. Warns of one that this software did not write, at most
    /// once a minute. The load that follows replaces it, if Redis accepts writes.
    fn report(&self, name: TemplateName<'_>, unusable: Unusable) {
        let kind = match unusable {
            Unusable::Outdated => {
                metrics::counter!(TEMPLATE_FILLS.name, "result" => "useless").increment(1);
                return;
            }
            Unusable::Garbage => "garbage",
            Unusable::WrongHash => "wrong_hash",
        };
        metrics::counter!(CACHE_BAD_ANSWERS.name, "kind" => kind).increment(1);
        let mut last = self
            .last_warning
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < WARNING_PAUSE) {
            return;
        }
        *last = Some(Instant::now());
        warn!(
            namespace = name.namespace,
            name = name.name,
            version = name.version,
            kind,
            "Redis has a value for a template that Tasker did not write; it is not used"
        );
    }
}

/// The parts of a value that are read.
#[derive(Deserialize)]
struct Value<'a> {
    hash: ContentHash,
    #[serde(borrow)]
    document: &'a RawValue,
}

/// The reason why a value is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unusable {
    /// It says that it has another hash: it is older or newer than the index.
    Outdated,
    /// It is not the JSON of a template.
    Garbage,
    /// Its document does not have the hash that it says.
    WrongHash,
}

/// Returns the document of a value if its bytes have this hash. Nothing else decides about a hit, so
/// nothing else is parsed if the document is where Tasker writes it, at the end.
fn document_with_hash(value: &str, hash: ContentHash) -> Result<&str, Unusable> {
    if let Some((_, end)) = value.split_once(r#""document":"#)
        && let Some(document) = end.strip_suffix('}')
        && ContentHash::of(document) == hash
    {
        return Ok(document);
    }
    let value: Value<'_> = serde_json::from_str(value).map_err(|_| Unusable::Garbage)?;
    if value.hash != hash {
        return Err(Unusable::Outdated);
    }
    let document = value.document.get();
    if ContentHash::of(document) == hash {
        Ok(document)
    } else {
        Err(Unusable::WrongHash)
    }
}

#[cfg(test)]
mod tests {
    use super::{Unusable, document_with_hash};
    use crate::types::ContentHash;

    const DOCUMENT: &str = r#"{"name":  "refund", "n": 1.50}"#;

    fn value(hash: ContentHash, document: &str) -> String {
        format!(r#"{{"name": "x", "hash": "{hash}", "unknown": [1], "document": {document}}}"#)
    }

    #[test]
    fn a_document_is_used_if_its_own_bytes_have_the_hash() {
        let hash = ContentHash::of(DOCUMENT);
        let found = value(hash, DOCUMENT);
        assert_eq!(document_with_hash(&found, hash), Ok(DOCUMENT));
        let forged = value(hash, &DOCUMENT.replace("refund", "forged"));
        assert_eq!(document_with_hash(&forged, hash), Err(Unusable::WrongHash));
        let respaced = value(hash, &DOCUMENT.replace("  ", " "));
        assert_eq!(
            document_with_hash(&respaced, hash),
            Err(Unusable::WrongHash)
        );
    }

    #[test]
    fn a_value_with_another_hash_is_outdated_and_anything_else_is_garbage() {
        let hash = ContentHash::of(DOCUMENT);
        let old = ContentHash::of("{}");
        let outdated = value(old, "{}");
        assert_eq!(document_with_hash(&outdated, hash), Err(Unusable::Outdated));
        for garbage in ["", "{}", "not json", r#"{"hash": "ab", "document": {}}"#] {
            assert_eq!(document_with_hash(garbage, hash), Err(Unusable::Garbage));
        }
    }
}

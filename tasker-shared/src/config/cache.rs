//! The distributed template cache.

use std::time::Duration;

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::checks;
use super::macros::impl_builder_default;
use super::redis::RedisConfig;

/// `[common.cache]`: caching of task templates, in the process and in Redis.
///
/// With `enabled = false`, or without the section, every resolve reads PostgreSQL and no
/// connection to Redis is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Turns the caching of templates on.
    ///
    /// Default `false`.
    #[builder(default = "false")]
    pub enabled: bool,
    /// The distributed backend; `redis` is the one there is.
    ///
    /// Default `redis`.
    #[builder(default = "String::from(\"redis\")")]
    #[validate(custom(function = checks::cache_backend))]
    pub backend: String,
    /// The time for which Redis keeps an entry that has no TTL of its own, in seconds. The services have no
    /// such entries: it is for programs that embed the crate.
    ///
    /// Default 3600.
    #[builder(default = "3600")]
    #[validate(range(min = 1))]
    pub default_ttl_seconds: u32,
    /// The time for which Redis keeps a task template, in seconds.
    ///
    /// Default 3600.
    #[builder(default = "3600")]
    #[validate(range(min = 1))]
    pub template_ttl_seconds: u32,
    /// The time for which Redis keeps an analytics answer, in seconds.
    ///
    /// Default 60.
    #[builder(default = "60")]
    #[validate(range(min = 1))]
    pub analytics_ttl_seconds: u32,
    /// The beginning of every key in Redis: letters, digits and `_ . : { } -`, at most 64.
    ///
    /// Default `tasker`.
    #[builder(default = "String::from(\"tasker\")")]
    #[validate(length(min = 1, max = 64), custom(function = checks::key_prefix))]
    pub key_prefix: String,
    /// The oldest that a resolved template may be, in milliseconds. With 0 every resolve sees
    /// every commit that finished before it began.
    ///
    /// Default 1000.
    #[builder(default = "1000")]
    #[validate(range(max = 3_600_000))]
    pub max_staleness_ms: u64,
    /// The longest time that one request may wait for Redis in all, in milliseconds.
    ///
    /// Default 25.
    #[builder(default = "25")]
    #[validate(range(min = 1, max = 60_000))]
    pub operation_timeout_ms: u64,
    /// The number of bytes of template documents that a process holds.
    ///
    /// Default 67108864 (64 MiB).
    #[builder(default = "64 * 1024 * 1024")]
    pub local_max_bytes: u64,
    /// Has a worker's discovery delete all cached templates.
    ///
    /// Default `true`.
    #[builder(default = "true")]
    pub invalidate_on_boot: bool,
    /// The time past `max_staleness_ms` for which old pointers are used while the database is
    /// unreachable, in seconds; such answers are flagged. With 0, never.
    ///
    /// Default 0.
    #[builder(default = "0")]
    #[validate(range(max = 86_400))]
    pub serve_stale_seconds: u64,
    /// The address of Redis. Without the section there is no distributed cache.
    #[builder(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub redis: Option<RedisConfig>,
}

/// The kinds of entries of the distributed cache, by their time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheEntryKind {
    /// A task template: it changes rarely.
    Template,
    /// An analytics answer: it changes all the time.
    Analytics,
    /// Anything else.
    Other,
}

impl CacheConfig {
    /// Returns the time for which Redis keeps an entry of this kind.
    #[must_use]
    pub fn ttl(&self, kind: CacheEntryKind) -> Duration {
        let seconds = match kind {
            CacheEntryKind::Template => self.template_ttl_seconds,
            CacheEntryKind::Analytics => self.analytics_ttl_seconds,
            CacheEntryKind::Other => self.default_ttl_seconds,
        };
        Duration::from_secs(seconds.into())
    }
}

impl_builder_default!(CacheConfig => CacheConfigBuilder);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CacheConfig, CacheEntryKind};

    #[test]
    fn each_kind_of_entry_has_its_own_time_to_live() {
        let config = CacheConfig {
            template_ttl_seconds: 1,
            analytics_ttl_seconds: 2,
            default_ttl_seconds: 3,
            ..CacheConfig::default()
        };
        assert_eq!(config.ttl(CacheEntryKind::Template), Duration::from_secs(1));
        assert_eq!(
            config.ttl(CacheEntryKind::Analytics),
            Duration::from_secs(2)
        );
        assert_eq!(config.ttl(CacheEntryKind::Other), Duration::from_secs(3));
    }
}

//! Tests that need services. A service that is missing fails them.
//!
//! Without the feature `cache-redis` those remain that are not about Redis.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
#[cfg(feature = "cache-redis")]
mod cache;
#[cfg(feature = "cache-redis")]
mod cache_faults;
mod causes;
mod clock;
mod discovery;
#[cfg(feature = "cache-redis")]
mod distributed;
mod embedding;
mod every_cache;
mod failover;
mod healing;
mod index;
#[cfg(feature = "cache-redis")]
mod inspection;
#[cfg(feature = "cache-redis")]
mod invalidation;
mod jsonb;
mod large_folder;
mod local_tier;
mod metrics_view;
mod migrating;
mod polls;
mod pool;
#[cfg(feature = "cache-redis")]
mod readers;
#[cfg(feature = "cache-redis")]
mod redis_kinds;
#[cfg(feature = "cache-redis")]
mod redis_view;
mod registration;
mod replication;
mod resolve;
mod triggers;
mod unknown_names;

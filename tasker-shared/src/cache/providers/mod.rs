//! The backends. This is the one place that knows whether Redis was compiled in: without the
//! feature its service is a type that has no values, and nobody else needs to ask.

mod noop;

#[cfg(feature = "cache-redis")]
mod redis;
#[cfg(not(feature = "cache-redis"))]
#[path = "redis_absent.rs"]
mod redis;

pub use noop::NoOpCacheService;
pub use redis::RedisCacheService;

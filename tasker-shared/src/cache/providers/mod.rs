//! The backends. Only this module knows whether Redis was compiled in: without the feature its
//! service is a type that has no values.

#[cfg(not(feature = "cache-redis"))]
mod absent;
pub mod noop;
#[cfg(feature = "cache-redis")]
pub mod redis;

#[cfg(not(feature = "cache-redis"))]
pub use absent::RedisCacheService;
pub use noop::NoOpCacheService;
#[cfg(feature = "cache-redis")]
pub use redis::RedisCacheService;

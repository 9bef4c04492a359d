//! The backends. Only this module knows whether Redis was compiled in: without the feature its
//! service is a type that has no values.

pub mod noop;
#[cfg_attr(not(feature = "cache-redis"), path = "absent.rs")]
pub mod redis;

pub use noop::NoOpCacheService;
pub use redis::RedisCacheService;

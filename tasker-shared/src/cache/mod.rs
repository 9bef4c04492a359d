//! The distributed cache: texts under keys, for a limited time, shared by all processes.
//!
//! It does not know templates, and it promises little: a value may be gone at any time, a write may
//! be lost, and a value may be older than the last write. It promises time: every call returns
//! within a limit that is enforced here and not in the client library, one breaker keeps calls from
//! a backend that does not answer, and a backend that is missing at the start is used once it is
//! there. Callers therefore need no retry, breaker or timeout of their own. They get a value, no
//! value, or a [`CacheError`] that they treat as no value.

#[cfg(test)]
mod boundary_tests;
pub mod errors;
pub mod keys;
pub mod provider;
pub mod providers;
mod scoped;
mod status;
mod tls_fault;
pub mod traits;

pub use errors::{
    BadAnswer, CacheError, ConfigurationFault, ConnectionFault, Refusal, RefusalKind,
};
pub use provider::CacheProvider;
pub use providers::{NoOpCacheService, RedisCacheService};
pub use scoped::ScopedCache;
pub use status::{BreakerState, CacheStatus};
pub use tls_fault::{TlsFault, TlsFile};
pub use traits::{CacheService, MAX_VALUE_BYTES, SWEEP_LIMIT};

//! The distributed cache: texts under keys, for a while, shared by all processes.
//!
//! It knows nothing of templates, and it promises little: a value may be gone at any time, a
//! write may be lost, and a value may be older than one that somebody wrote. What it does
//! promise is time. Every call answers within a limit that is enforced here and not in the client
//! library, one breaker keeps calls from a backend that does not answer, and a backend that is
//! missing when the process starts is put to use when it arrives. Callers therefore hold no
//! retry, breaker or timeout of their own: they see a value, no value, or a [`CacheError`] that
//! they treat as no value.

#[cfg(test)]
mod boundary_tests;
mod errors;
pub mod keys;
mod late;
mod peek;
mod persist;
mod provider;
mod providers;
mod status;
mod tls_fault;
mod traits;

pub use errors::{
    BadAnswer, CacheError, ConfigurationFault, ConnectionFault, Refusal, RefusalKind, StartError,
};
pub use peek::Peek;
pub use provider::CacheProvider;
pub use providers::{NoOpCacheService, RedisCacheService};
pub use status::{BreakerState, CacheStatus};
pub use tls_fault::{TlsFault, TlsFile};
pub use traits::CacheService;

/// The longest value that is written or accepted, in bytes.
///
/// A longer one under our key was not written by us, and reading it again and again would spend
/// the budget of every request.
pub const MAX_VALUE_BYTES: usize = 8 * 1024 * 1024;

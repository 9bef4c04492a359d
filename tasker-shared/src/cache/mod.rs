//! The distributed cache: keys to bytes, with deadlines. It knows nothing of templates. (Stub.)

mod errors;
mod provider;

pub use errors::CacheError;
pub use provider::CacheProvider;

//! Types that cross the boundary between the registry, the services and their clients.

pub mod cache_stats;
pub mod document;
pub mod handler_metadata;

pub use cache_stats::{CacheInvalidation, CacheStats};
pub use document::{ContentHash, Document};
pub use handler_metadata::HandlerMetadata;

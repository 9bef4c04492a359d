//! Types that cross the boundary between the registry, the services and their clients.

pub mod cache_stats;
pub mod content_hash;
pub mod document;
pub mod handler_metadata;

pub use cache_stats::{CacheInvalidation, CacheStats};
pub use content_hash::ContentHash;
pub use document::Document;
pub use handler_metadata::HandlerMetadata;

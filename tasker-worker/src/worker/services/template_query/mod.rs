//! Questions about templates and the caches that hold them, and the operations on those caches.

mod service;
mod types;
mod validation;

pub use service::TemplateQueryService;
pub use types::{
    CacheOperation, CacheOperationResponse, HandlerMetadataResponse, RegisteredTemplateResponse,
    TemplateListResponse, TemplateResponse, TemplateValidationResponse,
};

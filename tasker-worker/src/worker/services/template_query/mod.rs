//! Queries about templates, and operations on the caches.

mod jobs;
mod service;
mod types;
mod validation;

pub use service::TemplateQueryService;
pub use types::{
    CacheOperation, CacheOperationResponse, HandlerMetadataResponse, RegisteredTemplateResponse,
    TemplateListResponse, TemplateResponse,
};
pub use validation::TemplateValidationResponse;

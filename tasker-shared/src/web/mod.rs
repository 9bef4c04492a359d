//! HTTP and process building blocks that both services use: the command line, logging, start and
//! stop, problems, extractors, layers, health, metrics and API documents.
//!
//! A service is a router and a start function; [`service::run_service`] does the rest of a `main`.
//! Nothing here knows a route of one service only.

pub mod app;
pub mod cache_entries;
pub mod cli;
pub mod conditional;
pub mod docs;
pub mod exit;
pub mod extract;
pub mod health;
pub mod layers;
pub mod lifecycle;
pub mod logging;
pub mod metrics_route;
pub mod problem;
mod problem_from;
pub mod problem_kinds;
pub mod request_id;
pub mod service;
mod start;

pub use app::{AppParts, ServiceInfo, app};
pub use extract::{ApiJson, ApiPath, ApiQuery};
pub use lifecycle::Lifecycle;
pub use problem::{ApiResult, FieldError, Problem};
pub use problem_kinds::ProblemKind;
pub use request_id::RequestId;
pub use service::{ServiceError, run_service};

//! HTTP and process building blocks that both services use: the command line, logging, start and
//! stop, problems, extractors, layers, health, metrics and API documents.
//!
//! A service is a router and a start function; [`run_service`] does the rest of a `main`. Nothing
//! here knows a route of one service only.

mod activity;
mod app;
pub mod cache_entries;
mod cli;
mod conditional;
mod config_route;
mod connections;
mod docs;
pub mod exit;
mod extract;
mod guard;
mod health;
mod joined;
mod layers;
mod lifecycle;
mod logging;
mod metrics_route;
mod not_found;
mod page;
mod parts;
mod problem;
mod problem_from;
pub mod problem_kinds;
mod request_id;
mod service;
mod start;
mod trigger_watch;
mod unknown_field;

pub use app::app;
pub use conditional::{etag, none_match_holds};
pub use docs::with_shared_routes;
pub use extract::{ApiBytes, ApiJson, ApiPath, ApiQuery, parse_json};
pub use layers::Waiting;
pub use lifecycle::Lifecycle;
pub use logging::LoggingError;
pub use metrics_route::recorder;
pub use not_found::resolve_problem;
pub use page::{Page, PageQuery, bad_query};
pub use parts::{AppParts, ServiceInfo, TemplateFiles};
pub use problem::{ApiResult, FieldError, Problem, ProblemBody, causes};
pub use problem_kinds::ProblemKind;
pub use service::{ServiceError, run_service};

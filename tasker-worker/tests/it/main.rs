//! The worker on real PostgreSQL and Redis.

mod boot;
mod caches;
mod program;
mod support;
mod templates;

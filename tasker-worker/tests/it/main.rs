//! The worker on real PostgreSQL and Redis.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod boot;
mod caches;
mod execution;
mod existing_workspace;
mod program;
mod readme;
mod rights;
mod rollouts;
mod secrets;
mod support;
mod templates;

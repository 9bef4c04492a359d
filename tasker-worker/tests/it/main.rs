//! The worker on real PostgreSQL and Redis.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod boot;
mod caches;
mod execution;
mod program;
mod readme;
mod rollouts;
mod secrets;
mod support;
mod templates;

//! The servers of the testkit, started for real.

#![expect(
    clippy::unwrap_used,
    reason = "a step that fails fails the test, with its place"
)]

mod ownership;
mod postgres_server;
mod redis_server;
mod shared;
mod tcp_proxy;

//! The servers of the testkit, started for real.

mod postgres_server;
mod redis_server;

//! PostgreSQL and Redis for tests and demonstrations: found, or started and stopped.
//!
//! [`postgres`] and [`redis`] give every test of a process the same server: the one that
//! `DATABASE_URL` or `REDIS_URL` names, else one from a Docker engine, else one started from the
//! programs on this machine. [`TestDatabase`] is a database of a test's own on that server.
//! [`PostgresServer`] and [`RedisServer`] are servers of a test's own, to kill, freeze and restart.
//! [`RedisCluster`] and [`RedisSentinel`] are several of them that belong together, and [`TlsFiles`] are
//! certificates for them.
//! [`TcpProxy`] stands before any server and spoils the connection to it. [`GuardedServers`] ask
//! for passwords, which are [`Secret`]s that can be looked for in what a program says, such as in
//! [everything](ask_everything) that it answers during an [ordeal].
//!
//! Whatever is started here ends with the process that started it, however that process ends: a
//! supervising shell holds the other end of a pipe and cleans up when the pipe closes.
//!
//! This crate knows nothing of Tasker's schema: tests migrate their databases themselves. Of its
//! services it knows where they tell their health and their routes. It never installs anything;
//! `cargo xtask test` does, where it may.

mod account;
mod acquired;
mod api_tour;
mod container;
mod docker;
mod error;
mod folder;
mod generated;
mod guarded_servers;
mod held_folder;
mod held_shell;
mod instance;
mod ordeal;
mod ports;
mod postgres_server;
mod processes;
mod programs;
mod redis_cluster;
mod redis_control;
mod redis_launch;
mod redis_sentinel;
mod redis_server;
mod secret;
mod service_process;
mod supervisor;
mod tcp_proxy;
mod test_database;
mod tls_files;

pub use acquired::{Origin, Postgres, Redis, postgres, redacted, redis};
pub use api_tour::ask_everything;
pub use error::{TestkitError, causes};
pub use generated::assert_generated;
pub use guarded_servers::GuardedServers;
pub use held_folder::HeldFolder;
pub use ordeal::{Testimony, ordeal};
pub use ports::free as free_port;
pub use postgres_server::PostgresServer;
pub use redis_cluster::RedisCluster;
pub use redis_control::connection as redis_connection;
pub use redis_sentinel::RedisSentinel;
pub use redis_server::RedisServer;
pub use secret::Secret;
pub use service_process::ServiceProcess;
pub use tcp_proxy::TcpProxy;
pub use test_database::TestDatabase;
pub use tls_files::TlsFiles;

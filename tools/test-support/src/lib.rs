//! PostgreSQL and Redis for tests, tools and the demonstration.
//!
//! [`postgres`] and [`redis()`] return servers that all tests of a process share: those that
//! `DATABASE_URL` and `REDIS_URL` name, else containers of a local Docker engine, else servers
//! started from the programs of this machine. Tests change nothing that the variables name but
//! databases and keys of their own: [`TestDatabase`] is a new database on the shared server.
//!
//! [`PostgresServer`] and [`RedisServer`] are servers of a test's own, to kill, freeze and restart as
//! [`ServiceProcess`]es. [`RedisCluster`] and [`RedisSentinel`] consist of several, and [`TcpProxy`]
//! breaks the connection to any server. They need the servers' programs, and install what
//! is missing where that is possible. All listen on the loopback address only.
//!
//! Servers end with the process that started them, however it ends: a supervising shell holds the
//! other end of a pipe and cleans up when the pipe closes.

mod access;
mod account;
mod docker;
mod error;
mod examples;
mod folder;
mod generated;
mod held_folder;
mod held_shell;
mod pgbouncer;
mod ports;
mod postgres_server;
mod processes;
mod programs;
mod redis_cluster;
mod redis_control;
mod redis_sentinel;
mod redis_server;
mod service_process;
mod shared;
mod tcp_proxy;
mod test_database;
mod until;

pub use access::Access;
pub use error::{Exited, Failure, Result, causes};
pub use examples::{example_program, page_block};
pub use generated::assert_generated;
pub use held_folder::HeldFolder;
pub use pgbouncer::PgBouncer;
pub use ports::free as free_port;
pub use postgres_server::PostgresServer;
pub use processes::{cpu_seconds_of_descendants, resident_kib};
pub use programs::postgres_program;
pub use redis_cluster::RedisCluster;
pub use redis_control::{
    connection as redis_connection, delete_keys as delete_redis_keys, keys as redis_keys,
};
pub use redis_sentinel::RedisSentinel;
pub use redis_server::RedisServer;
pub use service_process::ServiceProcess;
pub use shared::{SharedServer, postgres, redis};
pub use tcp_proxy::TcpProxy;
pub use test_database::TestDatabase;
pub use until::{PATIENCE, until};

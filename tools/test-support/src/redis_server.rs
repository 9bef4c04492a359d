//! A Redis of a test's own, to kill, freeze and restart.

use std::ffi::OsString;
use std::ops::Deref;
use std::os::unix::fs::chown;

use crate::account::Account;
use crate::docker::Image;
use crate::service_process::ServiceProcess;
use crate::{Result, folder, ports, programs, redis_connection};

/// Nothing is written to disk: a restart comes back empty.
const SETTINGS: [&str; 4] = ["--save", "", "--appendonly", "no"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Sentinel,
    Node,
}

/// An empty Redis or Valkey server on a free loopback port that writes nothing to disk. It is
/// stopped and its files are removed on drop, or when this process ends, however it ends.
///
/// The methods take `&self`, so that a test can share the server with its load. Each returns when
/// the named change has happened. Two of them at once on one server may fail, but leak nothing.
#[derive(Debug)]
pub struct RedisServer {
    process: ServiceProcess,
    port: u16,
    /// The port for the other nodes of a cluster.
    bus_port: u16,
}

impl RedisServer {
    /// Starts a server and waits until it answers, 30 s at most.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a server with further command line arguments, such as `["--requirepass", "secret"]`,
    /// and waits until it answers, 30 s at most.
    pub async fn start_with(arguments: &[&str]) -> Result<Self> {
        Self::launch(Kind::Plain, arguments).await
    }

    /// Starts a sentinel that watches nothing yet.
    pub(crate) async fn start_sentinel(arguments: &[&str]) -> Result<Self> {
        Self::launch(Kind::Sentinel, arguments).await
    }

    /// Starts a node of a cluster that does not exist yet.
    pub(crate) async fn start_node(arguments: &[&str]) -> Result<Self> {
        Self::launch(Kind::Node, arguments).await
    }

    /// Returns the port for the other nodes of a cluster.
    pub(crate) fn bus_port(&self) -> u16 {
        self.bus_port
    }

    /// Returns host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the server's URL, without a database or a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns the URL of the same server through its Unix socket.
    #[must_use]
    pub fn unix_url(&self) -> String {
        format!("unix://{}/redis.sock", self.folder().display())
    }

    /// Returns the port on the loopback address. It stays the same through restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server again, empty and on the same port, after stopping it if it runs.
    pub async fn restart(&self) -> Result {
        self.restart_until(|| is_up(self.port)).await
    }

    async fn launch(kind: Kind, arguments: &[&str]) -> Result<Self> {
        let program = programs::ensure_redis().await?;
        ports::start_on(async |port| {
            let account = Account::unprivileged()?;
            let folder = folder::create("tasker-redis-", account)?;
            let mut command: Vec<OsString> = vec![program.clone().into()];
            if kind == Kind::Sentinel {
                // A sentinel keeps what it learns in its configuration file.
                let file = folder.path().join("sentinel.conf");
                std::fs::write(&file, "")?;
                if let Some(Account { uid, gid }) = account {
                    chown(&file, Some(uid), Some(gid))?;
                }
                command.extend([file.into(), "--sentinel".into()]);
            }
            command.extend(["--port".into(), port.to_string().into()]);
            command.extend(["--bind", "127.0.0.1"].map(Into::into));
            command.extend(["--dir".into(), folder.path().into()]);
            command.extend([
                "--unixsocket".into(),
                folder.path().join("redis.sock").into(),
            ]);
            command.extend(SETTINGS.map(Into::into));
            // The default, 10,000 above, is in the range of outgoing connections.
            let bus_port = ports::free()?;
            if kind == Kind::Node {
                command.extend(["--cluster-port".into(), bus_port.to_string().into()]);
            }
            command.extend(arguments.iter().map(Into::into));
            let process =
                ServiceProcess::new("redis-server", folder, account, "TERM", &command, &[])?;
            let server = Self {
                process,
                port,
                bus_port,
            };
            server.restart().await.map(|()| server)
        })
        .await
    }
}

impl Deref for RedisServer {
    type Target = ServiceProcess;

    fn deref(&self) -> &ServiceProcess {
        &self.process
    }
}

pub(crate) fn image() -> Image {
    Image {
        name: "redis",
        tag: "7-alpine",
        port: 6379,
        environment: &[],
        command: std::iter::once("redis-server")
            .chain(SETTINGS)
            .map(str::to_owned)
            .collect(),
    }
}

/// Sends a PING to the server, and fails if it is not answered.
pub(crate) async fn answers(url: &str) -> Result {
    let mut connection = redis_connection(url).await?;
    Ok(redis::cmd("PING").query_async(&mut connection).await?)
}

/// Returns true if a Redis on this port answers a PING with anything but "still loading". Requiring
/// a password is an answer.
async fn is_up(port: u16) -> Result<bool> {
    let answer = ports::ask(port, "PING\r\n").await?;
    Ok(!answer.is_empty() && !answer.starts_with("-LOADING"))
}

//! A Redis of a test's own, to kill, freeze and restart.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::account::Account;
use crate::supervisor::Supervised;
use crate::{TestkitError, folder, ports, programs};

const READY_DEADLINE: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(10);
/// How often another port is tried when somebody else was faster.
const PORT_ATTEMPTS: usize = 5;

/// A Redis or Valkey server on a free loopback port and on a Unix socket, with nothing in it and
/// nothing written to disk. Dropping it stops it and removes its folder; so does the end of this
/// process, however it comes.
///
/// The methods take `&self` so that a test can share the server with its load. Each returns when
/// what it names has happened; two of them at once on one server may fail, but leak nothing.
#[derive(Debug)]
pub struct RedisServer {
    process: Supervised,
    port: u16,
}

impl RedisServer {
    /// Starts a server and waits until it answers, 30 s at most.
    pub async fn start() -> Result<Self, TestkitError> {
        Self::start_with(&[]).await
    }

    /// Starts a server with further command line arguments, such as `["--requirepass", "secret"]`,
    /// and waits until it answers, 30 s at most.
    pub async fn start_with(arguments: &[&str]) -> Result<Self, TestkitError> {
        let mut attempt = 1;
        loop {
            let server = Self::create(ports::free()?, arguments)?;
            match server.restart().await {
                Ok(()) => return Ok(server),
                // Somebody else took the port in between, as far as the server can be asked.
                Err(TestkitError::Exited { .. }) if attempt < PORT_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The server's URL, without a database or a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The URL of the same server through its Unix socket.
    #[must_use]
    pub fn unix_url(&self) -> String {
        format!(
            "unix://{}",
            self.process.folder().join("redis.sock").display()
        )
    }

    /// The port on 127.0.0.1. It stays the same through restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server in an orderly way. Connections are closed; new ones are refused.
    pub async fn stop(&self) -> Result<(), TestkitError> {
        self.process.stop().await
    }

    /// Kills the server. Connections are closed; new ones are refused.
    pub async fn kill(&self) -> Result<(), TestkitError> {
        self.process.signal(Signal::KILL)?;
        self.process.stopped().await
    }

    /// Starts the server again, empty and on the same port, after stopping it if it runs.
    pub async fn restart(&self) -> Result<(), TestkitError> {
        self.process.stop().await?;
        self.process.start().await?;
        self.ready().await
    }

    /// Stops the server from running without its connections noticing: they stay open, new ones
    /// are accepted by the kernel, and nothing is answered.
    pub fn freeze(&self) -> Result<(), TestkitError> {
        let pids: Vec<_> = self.process.running_pid().into_iter().collect();
        self.process.note_frozen(&pids)?;
        self.process.signal(Signal::STOP)
    }

    /// Lets a frozen server run on. It then executes what was sent to it meanwhile.
    pub fn thaw(&self) -> Result<(), TestkitError> {
        self.process.signal(Signal::CONT)?;
        self.process.note_frozen(&[])
    }

    /// Everything that the server wrote to its log, over all restarts.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn create(port: u16, arguments: &[&str]) -> Result<Self, TestkitError> {
        let program = programs::redis_server().ok_or(TestkitError::NotInstalled {
            service: "Redis",
            variable: "REDIS_URL",
            debian_package: "redis-server",
        })?;
        let account = Account::unprivileged()?;
        let folder = folder::create("tasker-redis-", account)?;
        let mut command: Vec<OsString> = vec![program.into()];
        command.extend(["--port".into(), port.to_string().into()]);
        command.extend(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"].map(Into::into));
        command.extend(["--dir".into(), folder.path().into()]);
        command.extend([
            "--unixsocket".into(),
            folder.path().join("redis.sock").into(),
        ]);
        command.extend(arguments.iter().map(Into::into));
        let process = Supervised::new("redis-server", folder, account, "TERM", &command)?;
        Ok(Self { process, port })
    }

    async fn ready(&self) -> Result<(), TestkitError> {
        let start = Instant::now();
        loop {
            self.process.check_alive()?;
            if answers(self.port).await {
                // Had another server answered on this port, ours would have ended by now or soon.
                return self.process.check_alive();
            }
            if start.elapsed() > READY_DEADLINE {
                return Err(self.process.too_slow("answer", READY_DEADLINE));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Whether a Redis on this port answers a PING with anything but "still loading". A demand for a
/// password is an answer.
async fn answers(port: u16) -> bool {
    let probe = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut reply = [0; 16];
        let read = stream.read(&mut reply).await?;
        Ok::<_, std::io::Error>(read > 0 && !reply.starts_with(b"-LOADING"))
    };
    matches!(
        tokio::time::timeout(PROBE_TIMEOUT, probe).await,
        Ok(Ok(true))
    )
}

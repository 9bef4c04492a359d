//! A Redis of a test's own, to kill, freeze and restart.

use std::ffi::OsString;
use std::os::unix::fs::chown;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::account::Account;
use crate::container::{Container, Recipe};
use crate::docker::Engine;
use crate::instance::Instance;
use crate::redis_launch::Launch;
use crate::supervisor::Supervised;
use crate::{TestkitError, TlsFiles, folder, ports, programs};

/// How often another port is tried when somebody else was faster.
const PORT_ATTEMPTS: usize = 5;
/// Nothing is written to disk: a restart comes back empty.
const SETTINGS: [&str; 4] = ["--save", "", "--appendonly", "no"];

/// A Redis or Valkey server on a free loopback port, with nothing in it and nothing written to
/// disk. Dropping it stops it and removes its files; so does the end of this process, however it
/// comes.
///
/// It runs from the programs on this machine, else in a container. The methods take `&self` so
/// that a test can share the server with its load. Each returns when what it names has happened;
/// two of them at once on one server may fail, but leak nothing.
#[derive(Debug)]
pub struct RedisServer {
    instance: Instance,
    host: String,
    port: u16,
    tls_port: Option<u16>,
    /// Where nodes of a cluster talk to each other.
    bus_port: u16,
}

impl RedisServer {
    /// Starts a server and waits until it answers, 30 s at most.
    pub async fn start() -> Result<Self, TestkitError> {
        Self::start_with(&[]).await
    }

    /// Starts a server with further command line arguments, such as `["--requirepass", "secret"]`,
    /// and waits until it answers, 30 s at most.
    pub async fn start_with(arguments: &[&str]) -> Result<Self, TestkitError> {
        if programs::redis_server().is_some() {
            return Self::start_program(arguments).await;
        }
        match Engine::detect() {
            Some(engine) => Self::start_container(&engine, arguments).await,
            None => Err(Self::not_installed()),
        }
    }

    /// Starts a server that also listens for TLS, shows the server's certificate, and demands one
    /// from its clients unless the arguments say otherwise. It needs the program on this machine.
    pub async fn start_tls(tls: &TlsFiles, arguments: &[&str]) -> Result<Self, TestkitError> {
        Self::launch(false, || {
            let mut launch = Launch::default();
            launch.listen_for_tls(tls)?;
            launch.add(arguments);
            Ok(launch)
        })
        .await
    }

    /// Starts a sentinel that watches nothing yet.
    pub(crate) async fn start_sentinel(arguments: &[&str]) -> Result<Self, TestkitError> {
        Self::launch(true, || Ok(Launch::with(arguments))).await
    }

    /// Where nodes of a cluster talk to each other; 0 for a server that is none.
    pub(crate) fn bus_port(&self) -> u16 {
        self.bus_port
    }

    /// The server's URL with TLS, by a name that its certificate has; none for one without TLS.
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        self.tls_port
            .map(|port| format!("rediss://localhost:{port}"))
    }

    /// Host and port, without TLS.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The server's URL, without a database or a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}:{}", self.host, self.port)
    }

    /// The URL of the same server through its Unix socket; none for a server in a container.
    #[must_use]
    pub fn unix_url(&self) -> Option<String> {
        let folder = self.instance.folder()?;
        Some(format!("unix://{}", folder.join("redis.sock").display()))
    }

    /// The port on the loopback address. It stays the same through restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server in an orderly way. Connections are closed; new ones are refused.
    pub async fn stop(&self) -> Result<(), TestkitError> {
        self.instance.stop().await
    }

    /// Kills the server. Connections are closed; new ones are refused.
    pub async fn kill(&self) -> Result<(), TestkitError> {
        self.instance.kill().await
    }

    /// Starts the server again, empty and on the same port, after stopping it if it runs.
    pub async fn restart(&self) -> Result<(), TestkitError> {
        self.instance
            .restart(|| answers(&self.host, self.port))
            .await
    }

    /// Stops the server from running without its connections noticing: they stay open, new ones
    /// are accepted by the kernel, and nothing is answered.
    pub async fn freeze(&self) -> Result<(), TestkitError> {
        self.instance.freeze().await
    }

    /// Lets a frozen server run on. It then executes what was sent to it meanwhile.
    pub async fn thaw(&self) -> Result<(), TestkitError> {
        self.instance.thaw().await
    }

    /// Everything that the server wrote to its log, over all restarts.
    pub async fn log(&self) -> String {
        self.instance.log().await
    }

    pub(crate) async fn start_program(arguments: &[&str]) -> Result<Self, TestkitError> {
        Self::launch(false, || Ok(Launch::with(arguments))).await
    }

    /// Starts what `launch` makes, which is asked again when somebody else was faster to take a port.
    pub(crate) async fn launch(
        sentinel: bool,
        launch: impl Fn() -> Result<Launch, TestkitError>,
    ) -> Result<Self, TestkitError> {
        let program = programs::redis_server().ok_or_else(Self::not_installed)?;
        let mut attempt = 1;
        loop {
            let launch = launch()?;
            let account = Account::unprivileged()?;
            let folder = folder::create("tasker-redis-", account)?;
            let port = ports::free()?;
            let mut command: Vec<OsString> = vec![program.clone().into()];
            if sentinel {
                // A sentinel keeps what it learns in its configuration file.
                let file = folder.path().join("sentinel.conf");
                std::fs::write(&file, "").map_err(TestkitError::Folder)?;
                if let Some(Account { uid, gid }) = account {
                    chown(&file, Some(uid), Some(gid)).map_err(TestkitError::Folder)?;
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
            command.extend(launch.arguments.into_iter().map(Into::into));
            let process = Supervised::new("redis-server", folder, account, "TERM", &command, &[])?;
            let instance = Instance::Program(process);
            let server = Self {
                instance,
                host: String::from("127.0.0.1"),
                port,
                tls_port: launch.tls_port,
                bus_port: launch.bus_port,
            };
            match server.restart().await {
                Ok(()) => return Ok(server),
                Err(TestkitError::Exited { log, .. })
                    if attempt < PORT_ATTEMPTS && log.contains("bind") =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn start_container(
        engine: &Engine,
        arguments: &[&str],
    ) -> Result<Self, TestkitError> {
        let command = ["redis-server"].iter().chain(&SETTINGS).chain(arguments);
        let recipe = Recipe {
            image: "redis",
            tag: "7-alpine",
            port: 6379,
            environment: &[],
            command: command.map(ToString::to_string).collect(),
        };
        let port = ports::free()?;
        let container = Container::create(engine, recipe, port).await?;
        let host = container.host().await?;
        let server = Self {
            instance: Instance::Container(container),
            host,
            port,
            tls_port: None,
            bus_port: 0,
        };
        server
            .instance
            .ready(|| answers(&server.host, server.port))
            .await?;
        Ok(server)
    }

    pub(crate) fn not_installed() -> TestkitError {
        TestkitError::NotInstalled {
            service: "Redis",
            variable: "REDIS_URL",
            debian_package: "redis-server",
        }
    }
}

/// Whether a Redis on this port answers a PING with anything but "still loading". A demand for a
/// password is an answer.
async fn answers(host: &str, port: u16) -> bool {
    let probe = async {
        let mut stream = TcpStream::connect((host, port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut reply = [0; 16];
        let read = stream.read(&mut reply).await?;
        Ok::<_, std::io::Error>(read > 0 && !reply.starts_with(b"-LOADING"))
    };
    matches!(probe.await, Ok(true))
}

//! A PostgreSQL of a test's own, to kill, freeze and restart.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, test_kill_process};
use sqlx::{Connection, PgConnection};

use crate::account::Account;
use crate::supervisor::Supervised;
use crate::{TestkitError, folder, ports, processes, programs};

const READY_DEADLINE: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);
/// How long the processes of a killed server may take to vanish.
const VANISH_DEADLINE: Duration = Duration::from_secs(5);
const PORT_ATTEMPTS: usize = 5;

/// Makes the cluster on the first start only; a `data` folder that exists is complete.
const START: &str = r#"
bin=$1 data=$2
shift 2
if [ ! -d "$data" ]; then
    "$bin/initdb" -D "$data.new" -U postgres -A trust -E UTF8 --locale=C --no-sync --no-instructions || exit 1
    mv "$data.new" "$data" || exit 1
fi
exec "$bin/postgres" -D "$data" "$@"
"#;

/// Fast and forgetful: a crash of the machine may lose everything, a crash of the server nothing.
const SETTINGS: [(&str, &str); 6] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "300"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_wal_size", "256MB"),
];

/// A PostgreSQL server on a free loopback port, with a superuser `postgres` who needs no
/// password. Dropping it stops it and removes its folder; so does the end of this process,
/// however it comes.
///
/// The methods take `&self` so that a test can share the server with its load. Each returns when
/// what it names has happened; two of them at once on one server may fail, but leak nothing.
#[derive(Debug)]
pub struct PostgresServer {
    process: Supervised,
    port: u16,
}

impl PostgresServer {
    /// Starts a server with nothing in it and waits until it answers, 30 s at most.
    pub async fn start() -> Result<Self, TestkitError> {
        Self::start_with(&[]).await
    }

    /// Starts a server with further settings, such as `("log_statement", "all")` or
    /// `("shared_preload_libraries", "pg_stat_statements")`, and waits until it answers, 30 s at
    /// most.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self, TestkitError> {
        let mut attempt = 1;
        loop {
            let server = Self::create(ports::free()?, settings)?;
            match server.restart().await {
                Ok(()) => return Ok(server),
                Err(TestkitError::Exited { log, .. })
                    if attempt < PORT_ATTEMPTS && log.contains("could not bind") =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The URL of a database on this server. `postgres` exists from the start.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1. It stays the same through restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server in an orderly way: sessions are ended with an error, data is kept.
    pub async fn stop(&self) -> Result<(), TestkitError> {
        self.process.stop().await
    }

    /// Kills every process of the server at once. Connections are closed, new ones refused; what
    /// was committed is there after a [`restart`](Self::restart).
    pub async fn kill(&self) -> Result<(), TestkitError> {
        let pids = self.pids();
        for pid in &pids {
            self.process.signal_one(*pid, Signal::KILL)?;
        }
        self.process.stopped().await?;
        // A server does not start while a process of the one before it holds its shared memory.
        let start = Instant::now();
        while pids.iter().any(|pid| test_kill_process(*pid).is_ok())
            && start.elapsed() < VANISH_DEADLINE
        {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts the server again, on the same port and with its data, after stopping it if it runs.
    pub async fn restart(&self) -> Result<(), TestkitError> {
        self.process.stop().await?;
        self.process.start().await?;
        self.ready().await
    }

    /// Stops the server from running without its connections noticing: they stay open, new ones
    /// are accepted by the kernel, and nothing is answered.
    pub fn freeze(&self) -> Result<(), TestkitError> {
        let Some(postmaster) = self.process.running_pid() else {
            return Ok(());
        };
        // Once the postmaster stands still there are no new sessions to miss.
        self.process.note_frozen(&[postmaster])?;
        self.process.signal_one(postmaster, Signal::STOP)?;
        let pids = self.pids();
        self.process.note_frozen(&pids)?;
        pids.iter()
            .try_for_each(|pid| self.process.signal_one(*pid, Signal::STOP))
    }

    /// Lets a frozen server run on. It then executes what was sent to it meanwhile.
    pub fn thaw(&self) -> Result<(), TestkitError> {
        self.pids()
            .iter()
            .try_for_each(|pid| self.process.signal_one(*pid, Signal::CONT))
    }

    /// Everything that the server wrote to its log, over all restarts.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn create(port: u16, settings: &[(&str, &str)]) -> Result<Self, TestkitError> {
        let bin = programs::postgres_bin().ok_or(TestkitError::NotInstalled {
            service: "PostgreSQL 15 or newer",
            variable: "DATABASE_URL",
            debian_package: "postgresql",
        })?;
        let account = Account::unprivileged()?;
        let folder = folder::create("tasker-postgres-", account)?;
        let mut command: Vec<OsString> =
            ["/bin/sh", "-c", START, "postgres"].map(Into::into).into();
        command.extend([bin.into(), folder.path().join("data").into()]);
        command.extend(["-p".into(), port.to_string().into()]);
        for (name, value) in SETTINGS.iter().chain(settings) {
            command.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        let process = Supervised::new("postgres", folder, account, "INT", &command)?;
        Ok(Self { process, port })
    }

    /// The postmaster and its children. Sessions have process groups of their own.
    fn pids(&self) -> Vec<Pid> {
        let Some(postmaster) = self.process.running_pid() else {
            return Vec::new();
        };
        let mut pids = vec![postmaster];
        pids.extend(processes::children(postmaster));
        pids
    }

    async fn ready(&self) -> Result<(), TestkitError> {
        let url = self.url("postgres");
        let start = Instant::now();
        loop {
            self.process.check_alive()?;
            let probe = tokio::time::timeout(PROBE_TIMEOUT, PgConnection::connect(&url)).await;
            if let Ok(Ok(connection)) = probe {
                // The session is of no more use; whether it ends politely does not matter.
                let _ = connection.close().await;
                return self.process.check_alive();
            }
            if start.elapsed() > READY_DEADLINE {
                return Err(self.process.too_slow("accept connections", READY_DEADLINE));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

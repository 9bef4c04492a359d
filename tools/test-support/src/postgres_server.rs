//! A PostgreSQL of a test's own, to kill, freeze and restart.

use std::ffi::OsString;

use sqlx::{Connection, PgConnection};

use crate::account::Account;
use crate::container::{Container, Recipe};
use crate::docker::Engine;
use crate::instance::Instance;
use crate::supervisor::Supervised;
use crate::{TestkitError, folder, ports, programs};

/// How often another port is tried when somebody else was faster.
const PORT_ATTEMPTS: usize = 5;

/// Makes the cluster on the first start only; a `data` folder that exists is complete.
const START: &str = r#"
bin=$1 data=$2
shift 2
unset PGDATA PGPORT PGTZ PGDATESTYLE PGCLIENTENCODING
if [ ! -d "$data" ]; then
    "$bin/initdb" -D "$data.new" -U postgres -A trust -E UTF8 --locale=C --no-sync --no-instructions || exit 1
    mv "$data.new" "$data" || exit 1
fi
exec "$bin/postgres" -D "$data" "$@"
"#;

/// Fast and forgetful: a crash of the machine may lose everything, a crash of the server nothing.
const SETTINGS: [(&str, &str); 4] = [
    ("max_connections", "300"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_wal_size", "256MB"),
];

/// A PostgreSQL server on a free loopback port, with a superuser `postgres` who needs no
/// password. Dropping it stops it and removes its files; so does the end of this process,
/// however it comes.
///
/// It runs from the programs on this machine, else in a container. The methods take `&self` so
/// that a test can share the server with its load. Each returns when what it names has happened;
/// two of them at once on one server may fail, but leak nothing.
#[derive(Debug)]
pub struct PostgresServer {
    instance: Instance,
    host: String,
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
        if programs::postgres_bin().is_some() {
            return Self::start_program(settings).await;
        }
        match Engine::detect() {
            Some(engine) => Self::start_container(&engine, settings).await,
            None => Err(Self::not_installed()),
        }
    }

    /// The URL of a database on this server. `postgres` exists from the start.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}:{}/{database}", self.host, self.port)
    }

    /// The port on the loopback address. It stays the same through restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server in an orderly way: sessions are ended with an error, data is kept.
    pub async fn stop(&self) -> Result<(), TestkitError> {
        self.instance.stop().await
    }

    /// Kills every process of the server at once. Connections are closed, new ones refused; what
    /// was committed is there after a [`restart`](Self::restart).
    pub async fn kill(&self) -> Result<(), TestkitError> {
        self.instance.kill().await
    }

    /// Starts the server again, on the same port and with its data, after stopping it if it runs.
    pub async fn restart(&self) -> Result<(), TestkitError> {
        self.instance
            .restart(|| answers(self.url("postgres")))
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

    pub(crate) async fn start_program(settings: &[(&str, &str)]) -> Result<Self, TestkitError> {
        let bin = programs::postgres_bin().ok_or_else(Self::not_installed)?;
        let here = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
        ];
        let mut attempt = 1;
        loop {
            let account = Account::unprivileged()?;
            let folder = folder::create("tasker-postgres-", account)?;
            let port = ports::free()?;
            let mut command: Vec<OsString> =
                ["/bin/sh", "-c", START, "postgres"].map(Into::into).into();
            command.extend([bin.clone().into(), folder.path().join("data").into()]);
            command.extend(["-p".into(), port.to_string().into()]);
            command.extend(options(here.iter().chain(&SETTINGS).chain(settings)).map(Into::into));
            let process = Supervised::new("postgres", folder, account, "INT", &command, &[])?;
            let instance = Instance::Program(process);
            let server = Self {
                instance,
                host: String::from("127.0.0.1"),
                port,
            };
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

    pub(crate) async fn start_container(
        engine: &Engine,
        settings: &[(&str, &str)],
    ) -> Result<Self, TestkitError> {
        let mut command = vec![String::from("postgres")];
        command.extend(options(SETTINGS.iter().chain(settings)));
        let recipe = Recipe {
            image: "postgres",
            tag: "17-alpine",
            port: 5432,
            // The port is published on the loopback address only.
            environment: &[("POSTGRES_HOST_AUTH_METHOD", "trust")],
            command,
        };
        let port = ports::free()?;
        let container = Container::create(engine, recipe, port).await?;
        let host = container.host().await?;
        let server = Self {
            instance: Instance::Container(container),
            host,
            port,
        };
        server
            .instance
            .ready(|| answers(server.url("postgres")))
            .await?;
        Ok(server)
    }

    pub(crate) fn not_installed() -> TestkitError {
        TestkitError::NotInstalled {
            service: "PostgreSQL 15 or newer",
            variable: "DATABASE_URL",
            debian_package: "postgresql",
        }
    }
}

fn options<'a>(
    settings: impl Iterator<Item = &'a (&'a str, &'a str)>,
) -> impl Iterator<Item = String> {
    settings.flat_map(|(name, value)| [String::from("-c"), format!("{name}={value}")])
}

async fn answers(url: String) -> bool {
    match PgConnection::connect(&url).await {
        Ok(connection) => {
            // The session is of no more use; whether it ends politely does not matter.
            let _ = connection.close().await;
            true
        }
        Err(_) => false,
    }
}

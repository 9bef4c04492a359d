//! A PostgreSQL of a test's own, to kill, freeze and restart.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::ops::Deref;

use sqlx::{Connection, Executor, PgConnection};

use crate::account::Account;
use crate::docker::Image;
use crate::service_process::ServiceProcess;
use crate::{Result, folder, ports, programs};

/// Creates the database cluster on the first start only. A `data` folder that exists is complete.
const START: &str = r#"
bin=$1 data=$2 primary=$3
shift 3
unset PGDATA PGPORT PGTZ PGDATESTYLE PGCLIENTENCODING
if [ ! -d "$data" ]; then
    if [ -n "$primary" ]; then
        "$bin/pg_basebackup" -D "$data.new" -d "$primary" -R -c fast --no-sync || exit 1
        chmod 700 "$data.new" || exit 1
    else
        "$bin/initdb" -D "$data.new" -U postgres -A trust -E UTF8 --locale=C --no-sync --no-instructions || exit 1
    fi
    mv "$data.new" "$data" || exit 1
fi
exec "$bin/postgres" -D "$data" "$@"
"#;

/// Fast, because a crash of the machine may lose everything. A crash of the server loses nothing.
const SETTINGS: [(&str, &str); 4] = [
    ("max_connections", "300"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_wal_size", "256MB"),
];

/// A PostgreSQL server on a free loopback port, with a superuser `postgres` who needs no password.
/// It is stopped and its files are removed on drop, or when this process ends, however it ends.
///
/// The methods take `&self`, so that a test can share the server with its load. Each returns when
/// the named change has happened. Two of them at once on one server may fail, but leak nothing.
#[derive(Debug)]
pub struct PostgresServer {
    process: ServiceProcess,
    port: u16,
}

impl PostgresServer {
    /// Starts an empty server and waits until it answers, 30 s at most.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a server with further settings, such as `("log_statement", "all")` or
    /// `("shared_preload_libraries", "pg_stat_statements")`, and waits until it answers, 30 s at
    /// most.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_from("", settings).await
    }

    /// Starts a standby of `primary`, with a copy of its data, and waits until it answers.
    pub async fn start_standby(primary: &Self) -> Result<Self> {
        Self::start_from(&primary.url("postgres"), &[]).await
    }

    async fn start_from(primary: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let bin = programs::ensure_postgres().await?;
        let local = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
        ];
        ports::start_on(async |port| {
            let account = Account::unprivileged()?;
            let folder = folder::create("tasker-postgres-", account)?;
            let mut command: Vec<OsString> =
                ["/bin/sh", "-c", START, "postgres"].map(Into::into).into();
            command.extend([bin.clone().into(), folder.path().join("data").into()]);
            command.push(primary.into());
            command.extend(["-p".into(), port.to_string().into()]);
            command.extend(options(local.iter().chain(&SETTINGS).chain(settings)).map(Into::into));
            let process = ServiceProcess::new("postgres", folder, account, "INT", &command, &[])?;
            let server = Self { process, port };
            server.restart().await.map(|()| server)
        })
        .await
    }

    /// Returns the URL of a database on this server. `postgres` exists from the start.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the port on the loopback address. It stays the same through restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server again, on the same port and with its data, after stopping it if it runs.
    pub async fn restart(&self) -> Result {
        let url = self.url("postgres");
        let is_up = async || answers(&url).await.map(|()| true);
        self.restart_until(is_up).await
    }

    /// Makes a standby a primary. Returns when it takes writes.
    pub async fn promote(&self) -> Result {
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        connection.execute("SELECT pg_promote()").await?;
        Ok(connection.close().await?)
    }

    /// Starts the server again as a standby of `primary`, which was its own standby and had all its data
    /// when it was promoted.
    pub async fn follow(&self, primary: &Self) -> Result {
        self.stop().await?;
        let data = self.folder().join("data");
        let setting = format!("primary_conninfo = '{}'\n", primary.url("postgres"));
        let mut settings = File::options()
            .append(true)
            .open(data.join("postgresql.auto.conf"))?;
        settings.write_all(setting.as_bytes())?;
        std::fs::write(data.join("standby.signal"), "")?;
        self.restart().await
    }
}

impl Deref for PostgresServer {
    type Target = ServiceProcess;

    fn deref(&self) -> &ServiceProcess {
        &self.process
    }
}

pub(crate) fn image() -> Image {
    Image {
        name: "postgres",
        tag: "17-alpine",
        port: 5432,
        environment: &[("POSTGRES_HOST_AUTH_METHOD", "trust")],
        command: std::iter::once(String::from("postgres"))
            .chain(options(SETTINGS.iter()))
            .collect(),
    }
}

/// Connects to the server, and fails if it does not accept that.
pub(crate) async fn answers(url: &str) -> Result {
    Ok(PgConnection::connect(url).await?.close().await?)
}

fn options<'a>(
    settings: impl Iterator<Item = &'a (&'a str, &'a str)>,
) -> impl Iterator<Item = String> {
    settings.flat_map(|(name, value)| [String::from("-c"), format!("{name}={value}")])
}

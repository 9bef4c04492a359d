//! A pooler before a PostgreSQL.

use std::str::FromStr;

use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::account::Account;
use crate::service_process::ServiceProcess;
use crate::tcp_proxy::NO_HOST;
use crate::{Result, folder, ports, programs};

/// A pgbouncer on a free loopback port, with default settings but for its mode. It is stopped and its
/// files are removed on drop, or when this process ends, however it ends.
#[derive(Debug)]
pub struct PgBouncer {
    process: ServiceProcess,
    url: Url,
}

impl PgBouncer {
    /// Starts a pooler in `pool_mode`, `session` or `transaction`, before the server of this URL, and
    /// waits until it answers.
    pub async fn before(url: &str, pool_mode: &str) -> Result<Self> {
        let program = programs::ensure_program("pgbouncer", "pgbouncer").await?;
        let account = Account::unprivileged()?;
        let folder = folder::create("tasker-pgbouncer-", account)?;
        let port = ports::free()?;
        let mut url = Url::parse(url)?;
        let host = url.host_str().ok_or(NO_HOST)?;
        let (to, user) = (url.port().unwrap_or(5432), url.username());
        let password = url
            .password()
            .map(|password| format!(" password='{password}'"))
            .unwrap_or_default();
        let settings = format!(
            "[databases]\n\
             * = host={host} port={to} user={user}{password}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = {pool_mode}\n"
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings)?;
        let command = [program.into(), file.into()];
        let process = ServiceProcess::new("pgbouncer", folder, account, "TERM", &command, &[])?;
        url.set_host(Some("127.0.0.1"))?;
        url.set_port(Some(port)).map_err(|()| NO_HOST)?;
        let pooler = Self { process, url };
        pooler
            .process
            .restart_until(async || answers(pooler.url()).await.map(|()| true))
            .await?;
        Ok(pooler)
    }

    /// Returns the URL of the same database through the pooler.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }
}

async fn answers(url: &str) -> Result {
    // Refused by default.
    let options = PgConnectOptions::from_str(url)?.extra_float_digits(None);
    let connection = sqlx::PgConnection::connect_with(&options).await?;
    Ok(connection.close().await?)
}

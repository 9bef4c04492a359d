//! The configured server.

use std::fmt;
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo,
};

use super::{redis_error, tls};
use crate::cache::{CacheError, ConfigurationFault, ConnectionFault};
use crate::config::redis_checks::host_and_port;
use crate::config::tasker::{RedisConfig, RedisMode};

/// The number of commands that may wait for the task that writes them to a connection. The library's
/// default of 50 makes a thousand concurrent requests wait for each other.
const COMMAND_BUFFER: usize = 1024;

/// The most keys that one command is about, so that it takes little of the server's time.
const KEYS_PER_COMMAND: usize = 500;

const DEFAULT_PORT: u16 = 6379;

/// Host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    fn of(address: &ConnectionAddr) -> Option<Self> {
        match address {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Self {
                    host: host.clone(),
                    port: if *port == 0 { DEFAULT_PORT } else { *port },
                })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Address, kind and credentials of the configured server.
pub(super) struct Endpoint {
    /// The server in `url`, with the credentials and the database in force.
    pub(super) info: ConnectionInfo,
    pub(super) config: RedisConfig,
    pub(super) mode: RedisMode,
    /// The primaries of the cluster that were connected to last, because the configured nodes may
    /// all be gone one day.
    pub(super) known: ArcSwap<Vec<Address>>,
}

/// Omits all fields, because they contain the password.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(super) fn from_config(config: &RedisConfig) -> Result<Self, ConfigurationFault> {
        if let Some(problem) = config.problem() {
            return Err(ConfigurationFault::Redis(problem));
        }
        let info = config
            .url
            .as_str()
            .into_connection_info()
            .map_err(|_| ConfigurationFault::Url)?;
        // The library's TLS panics without a default provider. Losing this race is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Some proxies hang up on CLIENT SETINFO.
        let mut settings = info.redis_settings().clone().set_skip_set_lib_name();
        if config.database != 0 {
            settings = settings.set_db(i64::from(config.database));
        }
        let settings = with_login(settings, &config.username, config.password.expose());
        Ok(Self {
            info: info
                .set_redis_settings(settings)
                // Commands are small and their answers are awaited, so delaying them gains nothing.
                .set_tcp_settings(TcpSettings::default().set_nodelay(true)),
            config: config.clone(),
            mode: RedisMode::from_name(&config.mode).unwrap_or(RedisMode::Single),
            known: ArcSwap::default(),
        })
    }

    /// Returns the limit of connecting.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.connection_timeout_seconds))
    }

    /// Waits for `connecting`, for `connection_timeout_seconds` at most.
    pub(super) async fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, ConnectionFault>>,
    ) -> Result<T, CacheError> {
        let limit = self.timeout();
        tokio::time::timeout(limit, connecting)
            .await
            .unwrap_or(Err(ConnectionFault::ConnectTimeout { limit }))
            .map_err(CacheError::ConnectionError)
    }

    /// Connects to `server`, or else to the one that `url` names. Callers bound it.
    pub(super) async fn dial(
        &self,
        server: Option<&Address>,
    ) -> Result<MultiplexedConnection, ConnectionFault> {
        let Some(server) = server else {
            return self.open(self.info.clone()).await;
        };
        let info = self.info.clone().set_addr(self.at(server));
        self.open(info).await.map_err(|fault| fault.at(server))
    }

    /// Returns the most keys that one command may be about. In a cluster they could belong to several
    /// primaries.
    pub(super) fn keys_per_command(&self) -> usize {
        match self.mode {
            RedisMode::Cluster => 1,
            RedisMode::Single | RedisMode::Sentinel => KEYS_PER_COMMAND,
        }
    }

    /// Returns `server` as the client library names it, with TLS if `url` has it.
    pub(super) fn at(&self, server: &Address) -> ConnectionAddr {
        let (host, port) = (server.host.clone(), server.port);
        match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: None,
            },
            _ => ConnectionAddr::Tcp(host, port),
        }
    }

    /// Returns the servers in `url` and `nodes`, and the known primaries.
    pub(super) fn servers(&self) -> Vec<Address> {
        let named = self.config.nodes.iter().filter_map(|node| {
            host_and_port(node).map(|(host, port)| Address {
                host: host.to_owned(),
                port,
            })
        });
        let mut servers: Vec<Address> = Address::of(self.info.addr())
            .into_iter()
            .chain(named)
            .chain(self.known.load().iter().cloned())
            .collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }

    /// Connects as `info` says. Callers bound it.
    pub(super) async fn open(
        &self,
        info: ConnectionInfo,
    ) -> Result<MultiplexedConnection, ConnectionFault> {
        let client = match tls::read(&self.config).await? {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
        .map_err(redis_error::of_connecting)?;
        client
            .get_multiplexed_async_connection_with_config(&settings())
            .await
            .map_err(redis_error::of_connecting)
    }
}

/// Returns settings without limits, because callers have their own.
fn settings() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(COMMAND_BUFFER)
}

/// Overrides the URL's user and password with those that are not empty.
pub(super) fn with_login(
    settings: RedisConnectionInfo,
    user: &str,
    password: &str,
) -> RedisConnectionInfo {
    let settings = match user {
        "" => settings,
        user => settings.set_username(user),
    };
    match password {
        "" => settings,
        password => settings.set_password(password),
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Connection;
    use super::Endpoint;
    use crate::cache::{CacheError, ConfigurationFault, ConnectionFault};
    use crate::config::tasker::RedisConfig;

    fn with_url(url: &str) -> RedisConfig {
        RedisConfig {
            url: url.to_owned(),
            ..RedisConfig::default()
        }
    }

    fn endpoint(config: &RedisConfig) -> Endpoint {
        Endpoint::from_config(config).expect("a valid configuration")
    }

    #[test]
    fn the_database_comes_from_the_url_or_the_field() {
        for (url, field, database) in [
            ("redis://localhost", 0, 0),
            ("redis://localhost:6379/", 3, 3),
            ("redis://user:secret@localhost:6379/3", 0, 3),
            ("redis://localhost/3", 3, 3),
            ("rediss://:secret@localhost:6380", 3, 3),
            ("unix:///run/redis.sock", 3, 3),
            ("redis+unix:///run/redis.sock?db=3&pass=secret", 0, 3),
        ] {
            let endpoint = endpoint(&RedisConfig {
                database: field,
                ..with_url(url)
            });
            assert_eq!(endpoint.info.redis_settings().db(), database, "{url}");
        }
    }

    #[test]
    fn the_check_of_a_url_accepts_exactly_the_urls_that_the_client_library_understands() {
        for url in [
            "redis://localhost?protocol=resp3",
            "redis://localhost?protocol=4",
            "redis://localhost/3",
            "redis://localhost/x",
            "redis://0.0.0.0",
            "redis://[::]",
            "redis://[::1]:1",
            "redis://a%ff:b@localhost",
            "redis://:b%ff@localhost",
            "rediss://localhost",
            "rediss://localhost#verify",
            "unix:///run/redis.sock?protocol=2",
            "unix:///run/redis.sock?protocol=4",
            "unix:///run/redis.sock?db=x",
        ] {
            let understood = redis::Client::open(url).is_ok();
            let passes = with_url(url).problem().is_none();
            // The library accepts fragments, which mean nothing to us.
            assert_eq!(passes, understood && !url.contains('#'), "{url}");
        }
    }

    #[test]
    fn user_and_password_come_from_the_url_or_the_fields() {
        for (url, user, password) in [
            ("redis://ann:a%40b@localhost", "", ""),
            ("redis://ann@localhost", "", "a@b"),
            ("redis://:a%40b@localhost", "ann", ""),
            ("redis://localhost", "ann", "a@b"),
            ("unix:///run/redis.sock?user=ann", "", "a@b"),
        ] {
            let endpoint = endpoint(&RedisConfig {
                username: user.to_owned(),
                password: password.into(),
                ..with_url(url)
            });
            let settings = endpoint.info.redis_settings();
            assert_eq!(settings.username(), Some("ann"), "{url}");
            assert_eq!(settings.password(), Some("a@b"), "{url}");
        }
    }

    #[test]
    fn an_endpoint_does_not_show_its_password() {
        let endpoint = endpoint(&with_url("rediss://:secret@localhost:6380"));
        assert!(!format!("{endpoint:?}").contains("secret"));
    }

    #[tokio::test]
    async fn a_missing_file_is_not_reported_as_a_fault_of_a_node() {
        for (mode, name) in [("cluster", ""), ("sentinel", "main")] {
            let endpoint = endpoint(&RedisConfig {
                mode: mode.to_owned(),
                sentinel_master_name: name.to_owned(),
                tls_ca_file: String::from("/nowhere.pem"),
                ..with_url("rediss://localhost:1")
            });
            assert!(matches!(
                Connection::to(&endpoint).await,
                Err(CacheError::ConnectionError(ConnectionFault::TlsFile(_)))
            ));
        }
    }

    #[test]
    fn a_configuration_that_the_loader_refuses_is_refused_here_too() {
        for (url, database, path, text) in [
            ("redis://localhost/2", 1, "redis", "another database"),
            (
                "unix:///run/redis.sock?db=2",
                1,
                "redis",
                "another database",
            ),
            ("", 0, "redis.url", "must be a URL"),
            ("localhost", 0, "redis.url", "must be a URL"),
            ("http://localhost", 0, "redis.url", "must be a URL"),
            ("redis://", 0, "redis.url", "must be a URL"),
            ("redis://h/x", 0, "redis.url", "by a number"),
        ] {
            let config = RedisConfig {
                database,
                ..with_url(url)
            };
            let Err(ConfigurationFault::Redis(problem)) = Endpoint::from_config(&config) else {
                panic!("{url} is accepted");
            };
            assert_eq!(problem.path(), path, "{url}");
            assert!(problem.to_string().contains(text), "{url}: {problem}");
        }
    }
}

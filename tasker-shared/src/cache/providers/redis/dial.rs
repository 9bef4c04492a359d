//! One connection to one server: authenticated, with TLS if it is wanted.
//!
//! The client library's `ConnectionManager` is not used. After a disconnect all its commands
//! wait for one shared attempt to reconnect, and a command that times out does not make it
//! reconnect at all. Here a connection is a multiplexed one that is used until it fails once; a
//! background task makes its replacement. For the same reason its clients for clusters and
//! sentinels are not used: both reconnect and retry while commands wait.

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo,
};

use super::address::Address;
use super::faults;
use super::tls::TlsFiles;
use crate::cache::{ConfigurationFault, ConnectionFault};
use crate::config::tasker::RedisConfig;

/// How many commands may wait for the task that writes them to a connection. The library's 50
/// are too few for a thousand concurrent requests, which would wait for each other.
const COMMAND_BUFFER: usize = 1024;

/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 6379;

/// How to connect to any of the servers that belong together.
#[derive(Clone)]
pub(super) struct Dialer {
    info: ConnectionInfo,
    tls: TlsFiles,
}

impl Dialer {
    /// For the servers that hold data.
    pub(super) fn from_config(config: &RedisConfig) -> Result<Self, ConfigurationFault> {
        let info = config
            .url
            .as_str()
            .into_connection_info()
            .map_err(|_| ConfigurationFault::Url)?;
        let settings = info
            .redis_settings()
            .clone()
            .set_db(i64::from(config.database));
        let settings = with_login(settings, &config.username, config.password.expose());
        let info = info
            .set_redis_settings(settings)
            // Commands are small and answers are awaited: nothing is won by collecting them.
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Self {
            info,
            tls: TlsFiles::from_config(config),
        })
    }

    /// For the sentinels of these servers, which have users of their own and no databases.
    pub(super) fn for_sentinels(&self, config: &RedisConfig) -> Self {
        let settings = with_login(
            RedisConnectionInfo::default(),
            &config.sentinel_username,
            config.sentinel_password.expose(),
        );
        Self {
            info: self.info.clone().set_redis_settings(settings),
            tls: self.tls.clone(),
        }
    }

    /// The server that the URL names; none if it is a socket.
    pub(super) fn configured(&self) -> Option<Address> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Address {
                    host: host.clone(),
                    port: if *port == 0 { DEFAULT_PORT } else { *port },
                })
            }
            _ => None,
        }
    }

    /// Connects to the server that the URL names. Without a limit: the caller bounds it.
    pub(super) async fn dial(&self) -> Result<MultiplexedConnection, ConnectionFault> {
        self.open(self.info.clone()).await
    }

    /// Connects to another server in the same way. Without a limit: the caller bounds it.
    pub(super) async fn dial_at(
        &self,
        address: &Address,
    ) -> Result<MultiplexedConnection, ConnectionFault> {
        let (host, port) = (address.host.clone(), address.port);
        let target = match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: None,
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        self.open(self.info.clone().set_addr(target))
            .await
            .map_err(|fault| at(address, fault))
    }

    async fn open(&self, info: ConnectionInfo) -> Result<MultiplexedConnection, ConnectionFault> {
        // Redis' TLS takes the process' default provider, and panics when there is none and the
        // features of the whole program leave a choice. Losing this race is as good as winning.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = match self.tls.read().await? {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
        .map_err(faults::of_connecting)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(COMMAND_BUFFER);
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(faults::of_connecting)
    }
}

/// A fault that names the server of several that has it. A file of our own is no server's fault.
pub(super) fn at(address: &Address, fault: ConnectionFault) -> ConnectionFault {
    match fault {
        ConnectionFault::TlsFile(_) => fault,
        fault => ConnectionFault::Node {
            address: address.to_string(),
            fault: Box::new(fault),
        },
    }
}

/// What is empty here stays as the URL has it.
fn with_login(settings: RedisConnectionInfo, user: &str, password: &str) -> RedisConnectionInfo {
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
    use super::Dialer;
    use crate::config::tasker::RedisConfig;

    fn dialer(config: &RedisConfig) -> Dialer {
        assert_eq!(config.problem(), None);
        Dialer::from_config(config).expect("a valid configuration")
    }

    fn with_url(url: &str) -> RedisConfig {
        RedisConfig {
            url: url.to_owned(),
            ..RedisConfig::default()
        }
    }

    #[test]
    fn every_form_of_url_keeps_the_configured_database() {
        for url in [
            "redis://localhost",
            "redis://localhost:6379/",
            "redis://user:secret@localhost:6379/3",
            "rediss://:secret@localhost:6380",
            "unix:///run/redis.sock",
            "redis+unix:///run/redis.sock?db=3&pass=secret",
        ] {
            let dialer = dialer(&RedisConfig {
                database: 3,
                ..with_url(url)
            });
            assert_eq!(dialer.info.redis_settings().db(), 3, "{url}");
        }
    }

    #[test]
    fn the_check_of_a_url_lets_through_what_the_client_library_understands_and_no_more() {
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
            let config = RedisConfig {
                database: if url.ends_with("/3") { 3 } else { 0 },
                ..with_url(url)
            };
            let passes = config.problem().is_none();
            assert_eq!(passes, Dialer::from_config(&config).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_unix_url_names_the_socket() {
        let dialer = dialer(&with_url("unix:///run/redis.sock"));
        assert_eq!(dialer.info.addr().to_string(), "/run/redis.sock");
        assert_eq!(dialer.configured(), None);
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
            let dialer = Dialer::from_config(&RedisConfig {
                username: user.to_owned(),
                password: password.into(),
                ..with_url(url)
            })
            .expect("a valid configuration");
            let settings = dialer.info.redis_settings();
            assert_eq!(settings.username(), Some("ann"), "{url}");
            assert_eq!(settings.password(), Some("a@b"), "{url}");
        }
    }

    #[test]
    fn sentinels_are_not_told_the_servers_password() {
        let config = RedisConfig {
            mode: String::from("sentinel"),
            sentinel_master_name: String::from("main"),
            sentinel_password: "theirs".into(),
            ..with_url("redis://:ours@localhost")
        };
        let sentinels = dialer(&config).for_sentinels(&config);
        assert_eq!(sentinels.info.redis_settings().password(), Some("theirs"));
        let config = RedisConfig {
            sentinel_password: "".into(),
            ..config
        };
        let sentinels = dialer(&config).for_sentinels(&config);
        assert_eq!(sentinels.info.redis_settings().password(), None);
    }
}

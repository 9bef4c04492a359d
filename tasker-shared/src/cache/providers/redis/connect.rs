//! How a connection to Redis is made: the one file that knows.
//!
//! The client library's `ConnectionManager` is not used. After a disconnect all its commands
//! wait for one shared attempt to reconnect, and a command that times out does not make it
//! reconnect at all. Here a connection is a multiplexed one that is used until it fails once; a
//! background task makes its replacement.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, Value};

use super::faults;
use crate::cache::{CacheError, ConfigurationFault, ConnectionFault};
use crate::config::tasker::RedisConfig;

/// How many commands may wait for the task that writes them to a connection. The library's 50
/// are too few for a thousand concurrent requests, which would wait for each other.
const COMMAND_BUFFER: usize = 1024;

/// Where Redis is, and how to connect to it.
#[derive(Clone)]
pub(super) struct Endpoint {
    client: Client,
    timeout: Duration,
}

/// Without the client, whose settings hold the password.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(super) fn from_config(config: &RedisConfig) -> Result<Self, ConfigurationFault> {
        let url = url::Url::parse(&config.url).map_err(|_| ConfigurationFault::Url)?;
        if let Some(in_url) = database_in(&url)?
            && in_url != config.database
        {
            return Err(ConfigurationFault::DatabaseMismatch {
                in_url,
                configured: config.database,
            });
        }
        let info = url
            .into_connection_info()
            .map_err(|_| ConfigurationFault::Url)?;
        let settings = info.redis_settings().clone();
        let info = info
            .set_redis_settings(settings.set_db(i64::from(config.database)))
            // Commands are small and answers are awaited: nothing is won by collecting them.
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Self {
            client: Client::open(info).map_err(|_| ConfigurationFault::Url)?,
            timeout: Duration::from_secs(u64::from(config.connection_timeout_seconds)),
        })
    }

    /// How long connecting may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A new connection: authenticated, and with the configured database selected.
    ///
    /// Bounded by `connection_timeout_seconds` for everything together, name resolution and TLS
    /// included.
    pub(super) async fn connect(&self) -> Result<Link, CacheError> {
        // Redis' TLS takes the process' default provider, and panics when there is none and the
        // features of the whole program leave a choice. Losing this race is as good as winning.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(COMMAND_BUFFER);
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(Ok(connection)) => Ok(Link(connection)),
            Ok(Err(error)) => Err(faults::of_connecting(error)),
            Err(_) => Err(CacheError::ConnectionError(
                ConnectionFault::ConnectTimeout {
                    limit: self.timeout,
                },
            )),
        }
    }
}

/// The database that `url` names, if it names one.
fn database_in(url: &url::Url) -> Result<Option<u32>, ConfigurationFault> {
    let text = if url.scheme().ends_with("unix") {
        url.query_pairs()
            .find_map(|(name, value)| (name == "db").then(|| value.into_owned()))
    } else {
        Some(url.path().trim_matches('/').to_owned()).filter(|path| !path.is_empty())
    };
    text.map(|text| text.parse().map_err(|_| ConfigurationFault::Url))
        .transpose()
}

/// What is sent to Redis in one go.
pub(super) enum Request<'a> {
    /// One command and its answer.
    One(&'a redis::Cmd),
    /// Commands that are written together, and an array of their answers.
    Many(&'a redis::Pipeline),
}

/// One multiplexed connection. Clones share it; it closes with the last of them.
#[derive(Clone)]
pub(super) struct Link(MultiplexedConnection);

impl Link {
    /// Sends `request` and waits for its answer, without a limit: callers bound it. An error
    /// among the answers to many commands is the error of all.
    pub(super) async fn send(&mut self, request: &Request<'_>) -> Result<Value, CacheError> {
        match request {
            Request::One(command) => self.0.send_packed_command(command).await,
            Request::Many(pipeline) => self
                .0
                .send_packed_commands(pipeline, 0, pipeline.len())
                .await
                .map(Value::Array),
        }
        .and_then(Value::extract_error)
        .map_err(faults::of_operation)
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;
    use crate::cache::ConfigurationFault;
    use crate::config::tasker::RedisConfig;

    fn endpoint(url: &str, database: u32) -> Result<Endpoint, ConfigurationFault> {
        Endpoint::from_config(&RedisConfig {
            url: url.to_owned(),
            database,
            ..RedisConfig::default()
        })
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
            let endpoint = endpoint(url, 3).expect(url);
            let info = endpoint.client.get_connection_info();
            assert_eq!(info.redis_settings().db(), 3, "{url}");
            assert!(!format!("{endpoint:?}").contains("secret"));
        }
    }

    #[test]
    fn a_unix_url_names_the_socket() {
        let endpoint = endpoint("unix:///run/redis.sock", 0).expect("a valid URL");
        assert_eq!(
            endpoint.client.get_connection_info().addr().to_string(),
            "/run/redis.sock"
        );
    }

    #[test]
    fn a_database_that_disagrees_is_refused() {
        assert_eq!(
            endpoint("redis://localhost/2", 0).err(),
            Some(ConfigurationFault::DatabaseMismatch {
                in_url: 2,
                configured: 0
            })
        );
        assert_eq!(
            endpoint("unix:///run/redis.sock?db=2", 1).err(),
            Some(ConfigurationFault::DatabaseMismatch {
                in_url: 2,
                configured: 1
            })
        );
    }

    #[test]
    fn what_is_no_redis_url_is_refused() {
        for url in [
            "",
            "localhost",
            "http://localhost",
            "redis://",
            "redis://h/x",
        ] {
            assert_eq!(
                endpoint(url, 0).err(),
                Some(ConfigurationFault::Url),
                "{url}"
            );
        }
    }
}

//! Where the cache is, and how a connection to it is made: the one place that knows of the kinds
//! of server.

use std::time::Duration;

use super::address::Address;
use super::cluster::Cluster;
use super::dial::Dialer;
use super::link::Link;
use super::sentinel::Sentinels;
use crate::cache::{CacheError, ConfigurationFault, ConnectionFault};
use crate::config::tasker::{RedisConfig, RedisMode};

/// Where Redis is, and how to connect to it.
pub(super) struct Endpoint {
    servers: Dialer,
    kind: Kind,
    timeout: Duration,
}

enum Kind {
    Single,
    Sentinel(Box<Sentinels>),
    Cluster(Box<Cluster>),
}

/// Without what it connects with, which holds the password.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(super) fn from_config(config: &RedisConfig) -> Result<Self, ConfigurationFault> {
        if let Some(problem) = config.problem() {
            return Err(ConfigurationFault::Redis(problem));
        }
        let servers = Dialer::from_config(config)?;
        let named = config.nodes.iter().filter_map(|node| Address::parse(node));
        let addresses: Vec<Address> = servers.configured().into_iter().chain(named).collect();
        let kind = match RedisMode::from_name(&config.mode) {
            Some(RedisMode::Sentinel) => {
                let sentinels = Sentinels::from_config(config, &servers, addresses);
                Kind::Sentinel(Box::new(sentinels))
            }
            Some(RedisMode::Cluster) => {
                Kind::Cluster(Box::new(Cluster::new(servers.clone(), addresses)))
            }
            Some(RedisMode::Single) | None => Kind::Single,
        };
        Ok(Self {
            servers,
            kind,
            timeout: Duration::from_secs(u64::from(config.connection_timeout_seconds)),
        })
    }

    /// How long connecting may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The cluster, if it is one.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        match &self.kind {
            Kind::Cluster(cluster) => Some(cluster),
            Kind::Single | Kind::Sentinel(_) => None,
        }
    }

    /// A new connection: authenticated, and with the configured database selected. With sentinels
    /// it is to the primary; in a cluster, to every primary.
    ///
    /// Bounded by `connection_timeout_seconds` for everything together, name resolution and TLS
    /// included.
    pub(super) async fn connect(&self) -> Result<Link, CacheError> {
        self.in_time(async {
            match &self.kind {
                Kind::Single => self.servers.dial().await.map(Link::Single),
                Kind::Sentinel(sentinels) => {
                    sentinels.connect(&self.servers).await.map(Link::Single)
                }
                Kind::Cluster(cluster) => cluster.connect().await.map(Link::Cluster),
            }
        })
        .await
    }

    /// What `connecting` comes to within `connection_timeout_seconds`.
    pub(super) async fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, ConnectionFault>>,
    ) -> Result<T, CacheError> {
        let limit = self.timeout;
        tokio::time::timeout(limit, connecting)
            .await
            .unwrap_or(Err(ConnectionFault::ConnectTimeout { limit }))
            .map_err(CacheError::ConnectionError)
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;
    use crate::cache::{CacheError, ConfigurationFault, ConnectionFault};
    use crate::config::RedisProblem;
    use crate::config::tasker::RedisConfig;

    fn endpoint(url: &str, database: u32) -> Result<Endpoint, ConfigurationFault> {
        Endpoint::from_config(&RedisConfig {
            url: url.to_owned(),
            database,
            ..RedisConfig::default()
        })
    }

    #[test]
    fn an_endpoint_does_not_show_its_password() {
        let endpoint = endpoint("rediss://:secret@localhost:6380", 0).expect("a valid URL");
        assert!(!format!("{endpoint:?}").contains("secret"));
    }

    #[tokio::test]
    async fn a_file_that_is_missing_is_no_nodes_fault() {
        for mode in ["cluster", "sentinel"] {
            let endpoint = Endpoint::from_config(&RedisConfig {
                url: String::from("rediss://localhost:1"),
                mode: mode.to_owned(),
                sentinel_master_name: String::from(match mode {
                    "sentinel" => "main",
                    _ => "",
                }),
                tls_ca_file: String::from("/nowhere.pem"),
                ..RedisConfig::default()
            })
            .expect("a valid configuration");
            assert!(matches!(
                endpoint.connect().await,
                Err(CacheError::ConnectionError(ConnectionFault::TlsFile(_)))
            ));
        }
    }

    #[test]
    fn what_the_loader_would_refuse_is_refused_here_too() {
        for (url, database, problem) in [
            ("redis://localhost/2", 0, RedisProblem::Database),
            ("unix:///run/redis.sock?db=2", 1, RedisProblem::Database),
            ("", 0, RedisProblem::Url),
            ("localhost", 0, RedisProblem::Url),
            ("http://localhost", 0, RedisProblem::Url),
            ("redis://", 0, RedisProblem::Url),
            ("redis://h/x", 0, RedisProblem::DatabaseInUrl),
        ] {
            assert_eq!(
                endpoint(url, database).err(),
                Some(ConfigurationFault::Redis(problem)),
                "{url}"
            );
        }
        assert_eq!(
            ConfigurationFault::Redis(RedisProblem::Mode).to_string(),
            "`redis.mode` must be `single`, `cluster` or `sentinel`"
        );
    }
}

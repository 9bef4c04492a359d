//! The address and kind of Redis, and the limits of its connections.

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::macros::impl_builder_default;
use super::secret::Secret;
use super::{redact, redis_checks};

/// `[common.cache.redis]`: where Redis is and how it is connected to.
///
/// An empty text is one that is not set.
#[derive(Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[validate(schema(function = redis_checks::together))]
pub struct RedisConfig {
    /// `redis://`, `rediss://` (TLS), `unix://` or `redis+unix://`: the server, the first node of a
    /// cluster that is asked, or the first sentinel.
    ///
    /// Default `redis://localhost:6379`.
    #[builder(default = "String::from(\"redis://localhost:6379\")")]
    #[serde(serialize_with = "redact::serialize_url")]
    #[validate(custom(function = redis_checks::url))]
    pub url: String,
    /// The most multiplexed connections that are opened. A process opens two at most, because all
    /// requests share them; in a cluster each of them is one to every primary. Finding out whether Redis
    /// is back, and deleting by pattern, open further connections for that time.
    ///
    /// Default 10.
    #[builder(default = "10")]
    #[validate(range(min = 1, max = 1024))]
    pub max_connections: u32,
    /// The longest time that connecting may take, in seconds.
    ///
    /// Default 5.
    #[builder(default = "5")]
    #[validate(range(min = 1, max = 300))]
    pub connection_timeout_seconds: u32,
    /// The logical database. With 0 it is the one in `url`, such as `redis://localhost:6379/1`. Any
    /// other number must agree with `url`.
    ///
    /// Default 0.
    #[builder(default = "0")]
    pub database: u32,
    /// `single` for one server, `cluster` for a Redis Cluster, `sentinel` for a primary that
    /// sentinels watch.
    ///
    /// Default `single`.
    #[builder(default = "String::from(RedisMode::SINGLE)")]
    #[validate(custom(function = redis_checks::mode))]
    #[schemars(extend("enum" = ["single", "cluster", "sentinel"]))]
    pub mode: String,
    /// Further nodes of the cluster, or further sentinels, each `host:port`. Any of them will do
    /// to find the others.
    ///
    /// Default none.
    #[builder(default)]
    #[validate(custom(function = redis_checks::nodes))]
    pub nodes: Vec<String>,
    /// The ACL user; without one the password is that of the default user. A different one in
    /// `url` is an error.
    ///
    /// Default none.
    #[builder(default)]
    pub username: String,
    /// The password. A different one in `url` is an error.
    ///
    /// Default none.
    #[builder(default)]
    #[schemars(with = "String")]
    pub password: Secret,
    /// The name under which the sentinels know the primary.
    ///
    /// Default none.
    #[builder(default)]
    pub sentinel_master_name: String,
    /// The ACL user of the sentinels themselves, if they ask for one.
    ///
    /// Default none.
    #[builder(default)]
    pub sentinel_username: String,
    /// The password of the sentinels themselves, if they ask for one.
    ///
    /// Default none.
    #[builder(default)]
    #[schemars(with = "String")]
    pub sentinel_password: Secret,
    /// A PEM file with the certificates of the authorities that are trusted instead of the public
    /// ones. TLS files are read for each new connection.
    ///
    /// Default none.
    #[builder(default)]
    pub tls_ca_file: String,
    /// A PEM file with the certificate that is shown to the server, and those between it and its
    /// authority.
    ///
    /// Default none.
    #[builder(default)]
    pub tls_cert_file: String,
    /// A PEM file with the private key of the certificate in `tls_cert_file`.
    ///
    /// Default none.
    #[builder(default)]
    pub tls_key_file: String,
}

/// The kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisMode {
    /// One server, or a proxy that looks like one.
    Single,
    /// A Redis Cluster: several primaries with a part of the keys each.
    Cluster,
    /// A primary that sentinels watch and replace.
    Sentinel,
}

impl RedisMode {
    const SINGLE: &str = "single";

    /// The mode of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            Self::SINGLE => Some(Self::Single),
            "cluster" => Some(Self::Cluster),
            "sentinel" => Some(Self::Sentinel),
            _ => None,
        }
    }
}

/// Shows the URL without its secrets.
impl std::fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &redact::url(&self.url))
            .field("max_connections", &self.max_connections)
            .field(
                "connection_timeout_seconds",
                &self.connection_timeout_seconds,
            )
            .field("database", &self.database)
            .field("mode", &self.mode)
            .field("nodes", &self.nodes)
            .field("username", &self.username)
            .field("password", &self.password)
            .field("sentinel_master_name", &self.sentinel_master_name)
            .field("sentinel_username", &self.sentinel_username)
            .field("sentinel_password", &self.sentinel_password)
            .field("tls_ca_file", &self.tls_ca_file)
            .field("tls_cert_file", &self.tls_cert_file)
            .field("tls_key_file", &self.tls_key_file)
            .finish()
    }
}

impl_builder_default!(RedisConfig => RedisConfigBuilder);

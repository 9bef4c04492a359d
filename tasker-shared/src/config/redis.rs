//! The address and kind of Redis, and the limits of its connections.

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;
use validator::{Validate, ValidationError};

use super::macros::impl_builder_default;
use super::redact;
use super::redis_checks::{self, RedisProblem, credentials_in, database_in, outcome};
use super::secret::Secret;

/// `[common.cache.redis]`: where Redis is and how it is connected to.
///
/// An empty text is one that is not set.
#[derive(Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[validate(schema(function = together))]
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
    #[builder(default = "String::from(\"single\")")]
    #[validate(custom(function = mode))]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum RedisMode {
    /// One server, or a proxy that looks like one.
    Single,
    /// A Redis Cluster: several primaries with a part of the keys each.
    Cluster,
    /// A primary that sentinels watch and replace.
    Sentinel,
}

impl RedisMode {
    /// The mode of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

impl RedisConfig {
    /// Returns the first fault of the fields, each for itself and together.
    ///
    /// Files are not looked at: they are read when a connection is made.
    #[must_use]
    pub fn problem(&self) -> Option<RedisProblem> {
        redis_checks::wrong_url(&self.url)
            .or_else(|| wrong_mode(&self.mode))
            .or_else(|| redis_checks::wrong_nodes(&self.nodes))
            .or_else(|| self.wrong_together())
    }

    fn wrong_together(&self) -> Option<RedisProblem> {
        let url = Url::parse(&self.url).ok()?;
        let mode = RedisMode::from_name(&self.mode)?;
        let in_url: u32 = match database_in(&url) {
            Some(named) => named.parse().ok()?,
            None => self.database,
        };
        let database = self.database.max(in_url);
        let (user, password) = credentials_in(&url);
        let disagree =
            |field: &str, in_url: &str| !field.is_empty() && !in_url.is_empty() && field != in_url;
        let is_set = |text: &str| !text.is_empty();
        let has_user = is_set(&self.username) || is_set(&user);
        let has_password = !self.password.is_empty() || is_set(&password);
        let has_sentinel_login =
            is_set(&self.sentinel_username) || !self.sentinel_password.is_empty();
        let has_tls_files = [&self.tls_ca_file, &self.tls_cert_file, &self.tls_key_file]
            .iter()
            .any(|file| is_set(file));
        let checks = [
            // The base configuration sets 0, which therefore does not contradict the URL.
            (
                self.database != 0 && in_url != self.database,
                "`url` names another database than `database`: name it once, or the same twice",
            ),
            (
                mode == RedisMode::Cluster && database != 0,
                "`database` must be 0 with `mode = \"cluster\"`: a cluster has no other; use \
                 `key_prefix` to keep systems apart",
            ),
            (
                mode != RedisMode::Single && url.scheme().ends_with("unix"),
                "`url` must not be a socket with this `mode`: use `redis://` or `rediss://`",
            ),
            (
                mode == RedisMode::Single && !self.nodes.is_empty(),
                "`nodes` has no meaning with `mode = \"single\"`: set `mode` to `cluster` or \
                 `sentinel`, or remove `nodes`",
            ),
            (
                mode == RedisMode::Sentinel && !is_set(&self.sentinel_master_name),
                "`sentinel_master_name` must be set with `mode = \"sentinel\"`: the name in \
                 `sentinel monitor NAME ...` of the sentinels' configuration",
            ),
            (
                mode != RedisMode::Sentinel
                    && (is_set(&self.sentinel_master_name) || has_sentinel_login),
                "`sentinel_master_name`, `sentinel_username` and `sentinel_password` need \
                 `mode = \"sentinel\"`: set it, or remove them",
            ),
            (
                has_tls_files && url.scheme() != "rediss",
                "`tls_ca_file`, `tls_cert_file` and `tls_key_file` need TLS: let `url` start with \
                 `rediss://`, or remove them",
            ),
            (
                is_set(&self.tls_cert_file) != is_set(&self.tls_key_file),
                "`tls_cert_file` and `tls_key_file` belong together: set both or neither",
            ),
            (
                (has_user && !has_password)
                    || (is_set(&self.sentinel_username) && self.sentinel_password.is_empty()),
                "`username`, or a user in `url`, needs `password`, and `sentinel_username` needs \
                 `sentinel_password`",
            ),
            (
                disagree(&self.username, &user) || disagree(self.password.expose(), &password),
                "`url` has another user or password than `username` and `password`: name them \
                 once, or the same twice",
            ),
        ];
        let (_, text) = checks.into_iter().find(|(is_wrong, _)| *is_wrong)?;
        Some(RedisProblem::new("redis", text))
    }
}

fn wrong_mode(name: &str) -> Option<RedisProblem> {
    const MODE: RedisProblem =
        RedisProblem::new("redis.mode", "must be `single`, `cluster` or `sentinel`");
    RedisMode::from_name(name).is_none().then_some(MODE)
}

fn mode(name: &str) -> Result<(), ValidationError> {
    outcome(wrong_mode(name))
}

/// Faults of a single field are reported there.
fn together(config: &RedisConfig) -> Result<(), ValidationError> {
    outcome(config.wrong_together())
}

/// Shows no secrets.
impl std::fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        redact::debug(self, f)
    }
}

impl_builder_default!(RedisConfig => RedisConfigBuilder);

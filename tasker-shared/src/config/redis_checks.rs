//! Rules for `[common.cache.redis]`, for the loader and for whoever builds a
//! [`RedisConfig`] in code. No message contains a value.

use percent_encoding::percent_decode_str;
use url::Url;
use validator::ValidationError;

use super::checks::{SHELL_VARIABLE, has_rest_of_password, has_shell_variable};
use super::redis::{RedisConfig, RedisMode};

/// A fault of a [`RedisConfig`]; shown, the end of a sentence that begins with its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisProblem {
    /// `url` has another form than the four that there are.
    #[error(
        "must be a URL of the form `redis://user:password@host:port`, `rediss://host` or \
         `unix:///path/to/socket`, with special characters percent-encoded"
    )]
    Url,
    /// `url` has a variable that nothing replaces.
    #[error("{SHELL_VARIABLE}")]
    ShellVariable,
    /// The path of `url` is no number.
    #[error("must name the database by a number, such as `redis://localhost:6379/0`")]
    DatabaseInUrl,
    /// `mode` is none that there is.
    #[error("must be `single`, `cluster` or `sentinel`")]
    Mode,
    /// An entry of `nodes` is no address.
    #[error("must be a list of `host:port`, such as `[\"10.0.0.2:6379\", \"[::1]:6379\"]`")]
    Nodes,
    /// `url` names another database than `database`.
    #[error("`url` names another database than `database`: name it once, or the same twice")]
    Database,
    /// A cluster has one database.
    #[error(
        "`database` must be 0 with `mode = \"cluster\"`: a cluster has no other; use `key_prefix` to \
         keep systems apart"
    )]
    ClusterDatabase,
    /// A socket leads to one server.
    #[error("`url` must not be a socket with this `mode`: use `redis://` or `rediss://`")]
    Socket,
    /// One server has no further nodes.
    #[error(
        "`nodes` has no meaning with `mode = \"single\"`: set `mode` to `cluster` or `sentinel`, or \
         remove `nodes`"
    )]
    NodesOfSingle,
    /// Sentinels watch several primaries by name.
    #[error(
        "`sentinel_master_name` must be set with `mode = \"sentinel\"`: the name in \
         `sentinel monitor NAME ...` of the sentinels' configuration"
    )]
    NoMasterName,
    /// Without sentinels these have no meaning.
    #[error(
        "`sentinel_master_name`, `sentinel_username` and `sentinel_password` need \
         `mode = \"sentinel\"`: set it, or remove them"
    )]
    NotSentinel,
    /// TLS files for a connection without TLS.
    #[error(
        "`tls_ca_file`, `tls_cert_file` and `tls_key_file` need TLS: let `url` start with `rediss://`, \
         or remove them"
    )]
    NoTls,
    /// Half of a client's certificate.
    #[error("`tls_cert_file` and `tls_key_file` belong together: set both or neither")]
    HalfCertificate,
    /// A user without a password.
    #[error(
        "`username`, or a user in `url`, needs `password`, and `sentinel_username` needs \
         `sentinel_password`"
    )]
    NoPassword,
    /// Two users or two passwords.
    #[error(
        "`url` has another user or password than `username` and `password`: name them once, or the \
         same twice"
    )]
    Credentials,
}

/// Names of the protocol's versions in the client library.
const PROTOCOLS: [&str; 4] = ["2", "resp2", "3", "resp3"];

impl RedisProblem {
    /// The key that it is about, or the section if it is about several keys.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Url | Self::ShellVariable | Self::DatabaseInUrl => "redis.url",
            Self::Mode => "redis.mode",
            Self::Nodes => "redis.nodes",
            _ => "redis",
        }
    }
}

impl RedisConfig {
    /// Returns the first fault of the fields, each for itself and together.
    ///
    /// Files are not looked at: they are read when a connection is made.
    #[must_use]
    pub fn problem(&self) -> Option<RedisProblem> {
        wrong_url(&self.url)
            .or_else(|| wrong_mode(&self.mode))
            .or_else(|| wrong_nodes(&self.nodes))
            .or_else(|| wrong_together(self))
    }
}

fn wrong_url(text: &str) -> Option<RedisProblem> {
    let Ok(url) = Url::parse(text) else {
        return Some(RedisProblem::Url);
    };
    let complete = match url.scheme() {
        "redis" | "rediss" => url.host_str().is_some_and(|host| !host.is_empty()),
        "unix" | "redis+unix" => {
            url.host_str().is_none() && url.path().starts_with('/') && url.path() != "/"
        }
        _ => false,
    };
    // No fragment has a meaning here that this program supports.
    if !complete || url.fragment().is_some() || has_rest_of_password(&url, &["user", "pass"]) {
        Some(RedisProblem::Url)
    } else if has_shell_variable(&url) {
        Some(RedisProblem::ShellVariable)
    } else if database_in(&url).is_some_and(|named| named.parse::<u32>().is_err()) {
        Some(RedisProblem::DatabaseInUrl)
    } else if !can_be_dialed(&url) {
        Some(RedisProblem::Url)
    } else {
        None
    }
}

/// Checks that the client library accepts the rest: which protocol is spoken, an address that one
/// can connect to, and credentials that are text.
fn can_be_dialed(url: &Url) -> bool {
    let is_text = |text: &str| percent_decode_str(text).decode_utf8().is_ok();
    parameter(url, "protocol").is_none_or(|named| PROTOCOLS.contains(&named.as_str()))
        && !matches!(url.host_str(), Some("0.0.0.0" | "[::]"))
        && is_text(url.username())
        && url.password().is_none_or(is_text)
}

fn wrong_mode(name: &str) -> Option<RedisProblem> {
    RedisMode::from_name(name)
        .is_none()
        .then_some(RedisProblem::Mode)
}

fn wrong_nodes(nodes: &[String]) -> Option<RedisProblem> {
    nodes
        .iter()
        .any(|node| host_and_port(node).is_none())
        .then_some(RedisProblem::Nodes)
}

fn wrong_together(config: &RedisConfig) -> Option<RedisProblem> {
    let url = Url::parse(&config.url).ok()?;
    let mode = RedisMode::from_name(&config.mode)?;
    let in_url: u32 = match database_in(&url) {
        Some(named) => named.parse().ok()?,
        None => config.database,
    };
    let database = config.database.max(in_url);
    let (user, password) = credentials_in(&url);
    let disagree =
        |field: &str, in_url: &str| !field.is_empty() && !in_url.is_empty() && field != in_url;
    let is_set = |text: &str| !text.is_empty();
    let has_user = is_set(&config.username) || is_set(&user);
    let has_password = !config.password.is_empty() || is_set(&password);
    let has_sentinel_login =
        is_set(&config.sentinel_username) || !config.sentinel_password.is_empty();
    let has_tls_files = [
        &config.tls_ca_file,
        &config.tls_cert_file,
        &config.tls_key_file,
    ]
    .iter()
    .any(|file| is_set(file));
    let checks = [
        // The base configuration sets 0, which therefore does not contradict the URL.
        (
            config.database != 0 && in_url != config.database,
            RedisProblem::Database,
        ),
        (
            mode == RedisMode::Cluster && database != 0,
            RedisProblem::ClusterDatabase,
        ),
        (
            mode != RedisMode::Single && url.scheme().ends_with("unix"),
            RedisProblem::Socket,
        ),
        (
            mode == RedisMode::Single && !config.nodes.is_empty(),
            RedisProblem::NodesOfSingle,
        ),
        (
            mode == RedisMode::Sentinel && !is_set(&config.sentinel_master_name),
            RedisProblem::NoMasterName,
        ),
        (
            mode != RedisMode::Sentinel
                && (is_set(&config.sentinel_master_name) || has_sentinel_login),
            RedisProblem::NotSentinel,
        ),
        (
            has_tls_files && url.scheme() != "rediss",
            RedisProblem::NoTls,
        ),
        (
            is_set(&config.tls_cert_file) != is_set(&config.tls_key_file),
            RedisProblem::HalfCertificate,
        ),
        (
            (has_user && !has_password)
                || (is_set(&config.sentinel_username) && config.sentinel_password.is_empty()),
            RedisProblem::NoPassword,
        ),
        (
            disagree(&config.username, &user) || disagree(config.password.expose(), &password),
            RedisProblem::Credentials,
        ),
    ];
    checks
        .into_iter()
        .find_map(|(wrong, problem)| wrong.then_some(problem))
}

/// Host and port of `host:port` or `[address]:port`, without the brackets.
pub(crate) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?,
        // An address of version 6 without brackets could end anywhere.
        None if host.contains(':') => return None,
        None => host,
    };
    let plausible = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    (!host.is_empty() && host.bytes().all(plausible))
        .then(|| port.parse().ok().filter(|port| *port > 0))
        .flatten()
        .map(|port| (host, port))
}

/// The logical database that a Redis URL names: in its path, or in `?db=` for a socket.
fn database_in(url: &Url) -> Option<String> {
    match url.scheme() {
        "redis" | "rediss" => Some(url.path().trim_matches('/').to_owned()),
        _ => parameter(url, "db"),
    }
    .filter(|named| !named.is_empty())
}

/// User and password that a Redis URL names.
fn credentials_in(url: &Url) -> (String, String) {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match url.scheme() {
        "redis" | "rediss" => (
            decoded(url.username()),
            url.password().map(decoded).unwrap_or_default(),
        ),
        _ => (
            parameter(url, "user").unwrap_or_default(),
            parameter(url, "pass").unwrap_or_default(),
        ),
    }
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn outcome(problem: Option<RedisProblem>) -> Result<(), ValidationError> {
    match problem {
        None => Ok(()),
        Some(problem) => {
            Err(ValidationError::new("redis").with_message(problem.to_string().into()))
        }
    }
}

pub(super) fn url(text: &str) -> Result<(), ValidationError> {
    outcome(wrong_url(text))
}

pub(super) fn mode(name: &str) -> Result<(), ValidationError> {
    outcome(wrong_mode(name))
}

pub(super) fn nodes(nodes: &[String]) -> Result<(), ValidationError> {
    outcome(wrong_nodes(nodes))
}

/// Faults of a single field are reported there.
pub(super) fn together(config: &RedisConfig) -> Result<(), ValidationError> {
    outcome(wrong_together(config))
}

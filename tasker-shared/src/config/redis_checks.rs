//! Rules for the URLs in `[common.cache.redis]`, for the loader and for code that builds a
//! `RedisConfig`. No message contains a value.

use percent_encoding::percent_decode_str;
use url::Url;
use validator::ValidationError;

use super::checks::{SHELL_VARIABLE, has_rest_of_password, has_shell_variable};

/// A fault of a [`RedisConfig`](super::redis::RedisConfig); shown, the end of a sentence that
/// begins with its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct RedisProblem {
    path: &'static str,
    text: &'static str,
}

impl RedisProblem {
    pub(super) const fn new(path: &'static str, text: &'static str) -> Self {
        Self { path, text }
    }

    /// The key that it is about, or the section if it is about several keys.
    #[must_use]
    pub fn path(self) -> &'static str {
        self.path
    }
}

const URL: RedisProblem = RedisProblem::new(
    "redis.url",
    "must be a URL of the form `redis://user:password@host:port`, `rediss://host` or \
     `unix:///path/to/socket`, with special characters percent-encoded",
);
const URL_WITH_VARIABLE: RedisProblem = RedisProblem::new("redis.url", SHELL_VARIABLE);
const DATABASE_IN_URL: RedisProblem = RedisProblem::new(
    "redis.url",
    "must name the database by a number, such as `redis://localhost:6379/0`",
);
const NODES: RedisProblem = RedisProblem::new(
    "redis.nodes",
    "must be a list of `host:port`, such as `[\"10.0.0.2:6379\", \"[::1]:6379\"]`",
);

/// Names of the protocol's versions in the client library.
const PROTOCOLS: [&str; 4] = ["2", "resp2", "3", "resp3"];

/// Returns the fault of a URL.
pub(super) fn wrong_url(text: &str) -> Option<RedisProblem> {
    let Ok(url) = Url::parse(text) else {
        return Some(URL);
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
        Some(URL)
    } else if has_shell_variable(&url) {
        Some(URL_WITH_VARIABLE)
    } else if database_in(&url).is_some_and(|named| named.parse::<u32>().is_err()) {
        Some(DATABASE_IN_URL)
    } else if !can_be_dialed(&url) {
        Some(URL)
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

/// Returns the fault of a list of nodes.
pub(super) fn wrong_nodes(nodes: &[String]) -> Option<RedisProblem> {
    nodes
        .iter()
        .any(|node| host_and_port(node).is_none())
        .then_some(NODES)
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
pub(super) fn database_in(url: &Url) -> Option<String> {
    match url.scheme() {
        "redis" | "rediss" => Some(url.path().trim_matches('/').to_owned()),
        _ => parameter(url, "db"),
    }
    .filter(|named| !named.is_empty())
}

/// User and password that a Redis URL names.
pub(super) fn credentials_in(url: &Url) -> (String, String) {
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

/// Returns `problem` as the error of a constraint.
pub(super) fn outcome(problem: Option<RedisProblem>) -> Result<(), ValidationError> {
    match problem {
        None => Ok(()),
        Some(problem) => Err(ValidationError::new("redis").with_message(problem.text.into())),
    }
}

pub(super) fn url(text: &str) -> Result<(), ValidationError> {
    outcome(wrong_url(text))
}

pub(super) fn nodes(nodes: &[String]) -> Result<(), ValidationError> {
    outcome(wrong_nodes(nodes))
}

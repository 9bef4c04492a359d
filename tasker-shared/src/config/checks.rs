//! Checks of values beyond their types. Messages never contain the value, because it may be a URL
//! with a password.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sqlx::postgres::PgSslMode;
use url::Url;
use validator::ValidationError;

fn refuse(code: &'static str, message: &'static str) -> ValidationError {
    ValidationError::new(code).with_message(message.into())
}

/// Fails with `message` unless the constraint holds.
pub(super) fn require(
    holds: bool,
    code: &'static str,
    message: &'static str,
) -> Result<(), ValidationError> {
    if holds {
        Ok(())
    } else {
        Err(refuse(code, message))
    }
}

/// Returns true if `text` can name an environment. It becomes a part of a path, so it has no
/// separator and no dot.
pub(super) fn is_environment_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

pub(super) fn environment(name: &str) -> Result<(), ValidationError> {
    require(
        is_environment_name(name),
        "environment",
        "must consist of letters, digits, `_` and `-`",
    )
}

pub(super) fn cache_backend(backend: &str) -> Result<(), ValidationError> {
    require(backend == "redis", "backend", "must be `redis`")
}

pub(super) fn key_prefix(prefix: &str) -> Result<(), ValidationError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:{}-".contains(&byte);
    require(
        prefix.bytes().all(allowed),
        "key_prefix",
        "must consist of letters, digits and `_ . : { } -`",
    )
}

pub(super) fn bind_address(address: &str) -> Result<(), ValidationError> {
    let named_host = || {
        let (host, port) = address.rsplit_once(':')?;
        let is_name = !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
        port.parse::<u16>().ok().filter(|_| is_name)
    };
    require(
        address.parse::<SocketAddr>().is_ok() || named_host().is_some(),
        "bind_address",
        "must be `address:port` or `name:port`, such as `127.0.0.1:8080` or `[::1]:8080`",
    )
}

pub(super) fn database_url(text: &str) -> Result<(), ValidationError> {
    let shape = "must be a URL of the form `postgres://user:password@host:port/database`, with \
                 special characters percent-encoded";
    let url = Url::parse(text).map_err(|_| refuse("database_url", shape))?;
    let is_postgres = matches!(url.scheme(), "postgres" | "postgresql")
        && url.has_authority()
        && !has_rest_of_password(&url, &["user", "password"]);
    require(is_postgres, "database_url", shape)?;
    require(!has_shell_variable(&url), "database_url", SHELL_VARIABLE)?;
    let knows_mode = url
        .query_pairs()
        .filter(|(name, _)| name == "sslmode" || name == "ssl-mode")
        .all(|(_, mode)| mode.parse::<PgSslMode>().is_ok());
    require(
        knows_mode,
        "database_url",
        "must have as `sslmode` one of disable, allow, prefer, require, verify-ca and verify-full",
    )
}

pub(super) fn optional_database_url(text: &str) -> Result<(), ValidationError> {
    if text.is_empty() {
        return Ok(());
    }
    database_url(text)
}

/// The constraint that [`has_shell_variable`] checks.
pub(super) const SHELL_VARIABLE: &str = "must not have a variable such as `$HOST` in its host or \
     path: a file may contain `${NAME}` for the variables in docs/configuration.md";

/// Returns true if the host or the path has a `$NAME`, which a shell would replace and this program
/// does not.
pub(super) fn has_shell_variable(url: &Url) -> bool {
    let has = |text: &str| {
        let mut rest = text.split('$').skip(1);
        rest.any(|name| name.starts_with(|first: char| first.is_ascii_uppercase()))
    };
    url.host_str().is_some_and(has) || has(url.path())
}

/// Returns true if the rest of a password may have been parsed as another part of the URL.
///
/// After an unescaped `/`, `?` or `#` in a password, its rest is parsed as path, parameter or
/// fragment, and would be shown in logs. The `@` of the user is then there. The `parameters` may
/// contain an `@` of their own.
pub(super) fn has_rest_of_password(url: &Url, parameters: &[&str]) -> bool {
    let is_one_of_them = |part: &str| {
        part.split_once('=')
            .is_some_and(|(name, _)| parameters.contains(&name))
    };
    let in_query = |query: &str| {
        query
            .split('&')
            .any(|part| part.contains('@') && !is_one_of_them(part))
    };
    // A URL without a host has no password before its path, which may be that of a socket.
    (url.has_host() && url.path().contains('@'))
        || url
            .fragment()
            .is_some_and(|fragment| fragment.contains('@'))
        || url.query().is_some_and(in_query)
}

/// Returns true if a URL can have this host, or host and port.
pub(super) fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let is_port = |port: &str| port.bytes().all(is_digit) && port.parse::<u16>().is_ok();
    is_host(host) && port.is_none_or(is_port)
}

/// Returns true if a URL can have this host.
fn is_host(host: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = !host.is_empty() && host.bytes().all(of_name);
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    is_name || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Requires names as they are compared with `Host`: without port and final dot. Addresses are allowed
/// anyway.
pub(super) fn own_hosts(hosts: &[String]) -> Result<(), ValidationError> {
    let is_own = |host: &str| {
        host == "*" || host.parse::<IpAddr>().is_ok() || (is_host(host) && !host.ends_with('.'))
    };
    require(
        hosts.iter().all(|host| is_own(host)),
        "allowed_hosts",
        "must be a list of host names, such as `[\"tasker.example.com\"]`, without `http://`, port, path and \
         final dot, or `[\"*\"]` for every name",
    )
}

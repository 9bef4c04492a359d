//! Hides the secrets of URLs in logs, errors and answers.
//!
//! A URL whose secret parts cannot be identified with certainty is hidden as a whole, because a
//! hidden host is a smaller loss than a shown password.

use std::fmt;

use serde::{Serialize, Serializer};
use url::Url;

const HIDDEN: &str = "***";

/// Only URLs with these schemes are shown, because in `user:secret@host` without a scheme the user
/// would be parsed as one.
const KNOWN_SCHEMES: [&str; 8] = [
    "postgres",
    "postgresql",
    "redis",
    "rediss",
    "unix",
    "redis+unix",
    "http",
    "https",
];

/// Returns `text` with its password, all query values and its fragment replaced by `***`.
///
/// A user without a password is hidden too, because it may be a token; for PostgreSQL it is a name
/// and is shown. A text that is not a URL with a known scheme is replaced as a whole.
#[must_use]
pub fn url(text: &str) -> String {
    let Ok(url) = Url::parse(text) else {
        return HIDDEN.to_owned();
    };
    let scheme = url.scheme();
    if !KNOWN_SCHEMES.contains(&scheme) {
        return HIDDEN.to_owned();
    }
    // After an unescaped `/`, `?` or `#` in a password, its beginning is parsed as host and port
    // and its rest as path, query or fragment. The `@` of the user is then there.
    let after_host = &url[url::Position::BeforePath..];
    if url.cannot_be_a_base() || after_host.contains('@') {
        return format!("{scheme}:{HIDDEN}");
    }

    let user = match (url.username(), url.password()) {
        ("", None) => String::new(),
        (name, Some(_)) => format!("{name}:{HIDDEN}@"),
        (name, None) if scheme.starts_with("postgres") => format!("{name}@"),
        (_, None) => format!("{HIDDEN}@"),
    };
    let host = &url[url::Position::BeforeHost..url::Position::BeforePath];
    let path = url.path();
    let query = url.query().map_or_else(String::new, hide_query_values);
    let fragment = url.fragment().map_or("", |_| "#***");
    format!("{scheme}://{user}{host}{path}{query}{fragment}")
}

/// A part without `=` is hidden too, because it may be a value.
fn hide_query_values(query: &str) -> String {
    let parts: Vec<String> = query
        .split('&')
        .map(|part| match part.split_once('=') {
            Some((name, _)) => format!("{name}={HIDDEN}"),
            None => HIDDEN.to_owned(),
        })
        .collect();
    format!("?{}", parts.join("&"))
}

/// Serializes a URL without its secrets, for `#[serde(serialize_with)]`.
pub fn serialize_url<S: Serializer>(value: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&url(value))
}

/// Does the same as [`url()`] for one that may be empty.
#[must_use]
pub fn optional_url(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        url(text)
    }
}

/// Does the same as [`serialize_url`] for one that may be empty.
pub fn serialize_optional_url<S: Serializer>(
    value: &str,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&optional_url(value))
}

/// Shows a configuration as its JSON, for `Debug`, because serializing hides secrets.
pub(super) fn debug(config: &impl Serialize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&serde_json::to_string(config).map_err(|_| fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::url;

    #[test]
    fn what_is_no_secret_stays() {
        for (text, shown) in [
            ("redis://localhost:6379", "redis://localhost:6379"),
            ("redis://localhost:6379/3", "redis://localhost:6379/3"),
            ("rediss://[::1]:6379/0", "rediss://[::1]:6379/0"),
            ("unix:///run/redis.sock", "unix:///run/redis.sock"),
            ("postgres://tasker@db/tasker", "postgres://tasker@db/tasker"),
            ("postgresql:///tasker", "postgresql:///tasker"),
        ] {
            assert_eq!(url(text), shown);
        }
    }

    #[test]
    fn secrets_are_replaced_wherever_they_stand() {
        for (text, shown) in [
            (
                "redis://:s3cret@localhost:6379/1",
                "redis://:***@localhost:6379/1",
            ),
            ("redis://app:s3cret@localhost", "redis://app:***@localhost"),
            ("redis://s3cret@localhost", "redis://***@localhost"),
            ("redis://s3cret:@localhost", "redis://***@localhost"),
            ("redis://:s3@cret@localhost", "redis://:***@localhost"),
            ("redis://:s3:cret@localhost", "redis://:***@localhost"),
            ("redis://:%733cret@localhost", "redis://:***@localhost"),
            ("REDIS://:s3cret@localhost", "redis://:***@localhost"),
            (" redis://:s3cret@localhost\n", "redis://:***@localhost"),
            (
                "postgres://app:s3cret@db:5432/tasker",
                "postgres://app:***@db:5432/tasker",
            ),
            (
                "postgres://db/tasker?user=app&password=s3cret",
                "postgres://db/tasker?user=***&password=***",
            ),
            (
                "unix:///run/redis.sock?db=1&pass=s3cret",
                "unix:///run/redis.sock?db=***&pass=***",
            ),
            (
                "redis+unix:///run/redis.sock?pass=s3cret",
                "redis+unix:///run/redis.sock?pass=***",
            ),
            (
                "unix:///run/redis.sock?s3cret",
                "unix:///run/redis.sock?***",
            ),
            ("redis://localhost/#s3cret", "redis://localhost/#***"),
            (
                "https://user:s3cret@docs.example/a",
                "https://user:***@docs.example/a",
            ),
        ] {
            assert_eq!(url(text), shown, "for {text}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_hidden_whole() {
        for (text, shown) in [
            ("", "***"),
            ("s3cret", "***"),
            (":s3cret@localhost:6379", "***"),
            ("app:s3cret@localhost:6379", "***"),
            ("s3cret://app@localhost", "***"),
            ("redis://:s3cret@", "***"),
            ("redis://:s3cret@/0", "***"),
            ("redis://:s3/cret@localhost", "***"),
            ("redis://:s3#cret@localhost", "***"),
            ("redis://:s3cret@localhost:port", "***"),
            ("redis:s3cret", "redis:***"),
            ("redis:s3cret@localhost", "redis:***"),
            ("redis://app:53/cret@localhost", "redis:***"),
            ("redis://app:53?cret@localhost", "redis:***"),
            ("redis://app:53#cret@localhost", "redis:***"),
            ("postgres://app:53/cret@db:5432/tasker", "postgres:***"),
            ("unix:///run/redis.sock?pass=s3@cret", "unix:***"),
        ] {
            assert_eq!(url(text), shown, "for {text}");
        }
    }

    proptest! {
        #[test]
        fn no_password_is_ever_shown(
            scheme in "(redis|rediss|postgres|postgresql|unix|other)",
            user in "[a-z]{0,5}",
            secret in "[ -~]{0,6}S3CRET[ -~]{0,6}",
            tail in "(|/|/0|/db\\?a=b|:6379|:6379/0\\?db=1)",
        ) {
            let shown = url(&format!("{scheme}://{user}:{secret}@localhost{tail}"));
            prop_assert!(!shown.to_uppercase().contains("S3CRET"), "{}", shown);
            let shown = url(&format!("{user}:{secret}@localhost{tail}"));
            prop_assert!(!shown.to_uppercase().contains("S3CRET"), "{}", shown);
        }

        #[test]
        fn what_is_shown_has_no_more_to_hide(text in "(redis|postgres|unix)://[ -~]{0,40}") {
            let once = url(&text);
            prop_assert_eq!(url(&once).replace("%2A", "*"), once);
        }
    }
}

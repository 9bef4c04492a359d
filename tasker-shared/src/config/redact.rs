//! URLs without their secrets, for logs, errors and endpoints.
//!
//! A URL is shown when it is certain which of its parts are secret, and hidden otherwise. Hiding
//! too much costs an operator a look at the configuration; hiding too little costs a password.

use serde::Serializer;
use url::Url;

const HIDDEN: &str = "***";

/// Only these are shown: in `user:secret@host`, which somebody wrote without its scheme, the user
/// would be taken for one.
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

/// `text` with its password, every query value and its fragment replaced by `***`. So is a user
/// without a password, which is where tokens are put, except for PostgreSQL, where it is a name.
/// A text that is no URL of a kind that is known here is replaced whole.
#[must_use]
pub fn url(text: &str) -> String {
    let Ok(url) = Url::parse(text) else {
        return HIDDEN.to_owned();
    };
    let scheme = url.scheme();
    if !KNOWN_SCHEMES.contains(&scheme) {
        return HIDDEN.to_owned();
    }
    // After an unescaped `/`, `?` or `#` in a password, the rest of the password counts as path,
    // query or fragment, and what precedes it as host and port. The `@` of the user is then there.
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

/// A part without `=` may be a value as well as a name, so it is hidden too.
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

/// For `#[serde(serialize_with)]`: a configuration that is shown carries no secret.
pub fn serialize_url<S: Serializer>(value: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&url(value))
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

//! Handlers in other languages, over HTTP.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::checks::{is_host_and_port, require};
use super::macros::impl_builder_default;
use super::secret::Secret;

/// The prefix of a key of Standard Webhooks.
const SECRET_PREFIX: &str = "whsec_";

/// `[worker.http_handlers]`: callables that are URLs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpHandlersConfig {
    /// The hosts that steps may be sent to, each `host` or `host:port` as callables write it. Steps
    /// with other URLs are left to other workers.
    ///
    /// Default none.
    #[builder(default)]
    #[validate(custom(function = allowed_hosts))]
    pub allowed_hosts: Vec<String>,
    /// The longest that an answer may take, in seconds, unless the step has a timeout of its own.
    ///
    /// Default 30.
    #[builder(default = "30")]
    #[validate(range(min = 1, max = 86_400))]
    pub timeout_seconds: u32,
    /// The key that requests are signed with, as in Standard Webhooks: `whsec_` and base64.
    ///
    /// Default none: requests are not signed.
    #[builder(default)]
    #[validate(custom(function = signing_secret))]
    #[schemars(with = "String")]
    pub signing_secret: Secret,
}

impl_builder_default!(HttpHandlersConfig => HttpHandlersConfigBuilder);

impl HttpHandlersConfig {
    /// Returns the key that requests are signed with, if there is one.
    #[must_use]
    pub fn signing_key(&self) -> Option<Vec<u8>> {
        key(self.signing_secret.expose()).filter(|key| !key.is_empty())
    }
}

/// Returns the key in a secret. One without the prefix that is no base64 is a key as it is.
fn key(secret: &str) -> Option<Vec<u8>> {
    let decode = |encoded| BASE64_STANDARD.decode(encoded).ok();
    match secret.strip_prefix(SECRET_PREFIX) {
        Some(encoded) => decode(encoded),
        None => decode(secret).or_else(|| Some(secret.into())),
    }
}

fn signing_secret(secret: &Secret) -> Result<(), ValidationError> {
    let text = secret.expose();
    let has_key = key(text).is_some_and(|key| !key.is_empty()) && text.trim() == text;
    require(
        secret.is_empty() || has_key,
        "signing_secret",
        "must be `whsec_` and base64 with its padding, without spaces and line ends around it",
    )
}

fn allowed_hosts(hosts: &[String]) -> Result<(), ValidationError> {
    require(
        hosts.iter().all(|host| is_host_and_port(host)),
        "allowed_hosts",
        "must be a list of `host` or `host:port`, such as `[\"steps.example.com\", \"10.0.0.2:8000\"]`, \
         without `http://`, paths and `*`",
    )
}

#[cfg(test)]
mod tests {
    use super::{allowed_hosts, key, signing_secret};

    #[test]
    fn hosts_that_no_url_can_have_are_refused() {
        let check = |host: &str| allowed_hosts(&[String::from("good"), host.to_owned()]);
        for host in [
            "svc",
            "Svc_1.example.com",
            "10.0.0.2:8000",
            "[::1]",
            "[::1]:8000",
        ] {
            assert!(check(host).is_ok(), "{host}");
        }
        for host in [
            "",
            ":80",
            "http://svc:8000",
            "svc/",
            "svc/x",
            "*.x",
            "*",
            "svc:",
            "svc:+80",
            "svc:65536",
            "a b",
            "svc\n",
            "u@svc",
            "::1",
            "[x]",
            "é.example",
        ] {
            assert!(check(host).is_err(), "{host}");
        }
    }

    #[test]
    fn a_secret_must_have_a_key() {
        let check = |secret: &str| signing_secret(&secret.into());
        assert_eq!(key("whsec_AAEC"), Some(vec![0, 1, 2]));
        assert_eq!(key("AAEC"), Some(vec![0, 1, 2]));
        assert_eq!(key("no base64"), Some(b"no base64".to_vec()));
        for secret in ["", "whsec_AAEC", "AAEC", "no base64", "***"] {
            assert!(check(secret).is_ok(), "{secret}");
        }
        for secret in ["whsec_", "whsec_AAEC\n", " AAEC", "whsec_AAE", "whsec_AA*C"] {
            assert!(check(secret).is_err(), "{secret}");
        }
    }
}

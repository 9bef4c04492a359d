//! The HTTP servers of the services.

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::checks;
use super::macros::impl_builder_default;

/// `[orchestration.web]` and `[worker.web]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// Address on which the server listens: `address:port` or `name:port`. Port 0 takes a free
    /// port.
    #[builder(default = "String::from(\"127.0.0.1:0\")")]
    #[validate(custom(function = checks::bind_address))]
    pub bind_address: String,
    /// Longest processing of a request, in milliseconds. A longer one is answered with 504.
    #[builder(default = "10_000")]
    #[validate(range(min = 100, max = 600_000))]
    pub request_timeout_ms: u64,
    /// Largest request body, in bytes. A larger one is answered with 413.
    #[builder(default = "1024 * 1024")]
    #[validate(range(min = 1024, max = 67_108_864))]
    pub max_body_bytes: u64,
    /// Longest time in which a client must send the head of a request, in milliseconds. A connection
    /// that is idle between two requests stays open.
    #[builder(default = "10_000")]
    #[validate(range(min = 100, max = 600_000))]
    pub header_timeout_ms: u64,
    /// The most connections that may be open at once. Further ones are closed at once.
    #[builder(default = "4096")]
    #[validate(range(min = 1, max = 1_000_000))]
    pub max_connections: u64,
    /// Host names under which clients may call the service, beside addresses, `localhost` and the
    /// name in `bind_address`; `*` allows every name. Others are refused, because a web page could
    /// point its own name at this service.
    #[builder(default)]
    #[validate(custom(function = checks::own_hosts))]
    pub allowed_hosts: Vec<String>,
    /// Longest wait for unfinished requests after SIGTERM, in seconds.
    #[builder(default = "20")]
    #[validate(range(min = 1, max = 28))]
    pub drain_timeout_seconds: u64,
}

impl_builder_default!(WebConfig => WebConfigBuilder);

#[cfg(test)]
mod tests {
    use validator::Validate;

    use super::WebConfig;

    #[test]
    fn hosts_that_no_request_can_have_are_refused() {
        let check = |host: &str| {
            let allowed_hosts = vec![String::from("good"), host.to_owned()];
            let web = WebConfig {
                allowed_hosts,
                ..WebConfig::default()
            };
            web.validate()
        };
        for host in [
            "*",
            "tasker",
            "Tasker.example.com",
            "10.0.0.2",
            "[::1]",
            "::1",
        ] {
            assert!(check(host).is_ok(), "{host}");
        }
        for host in [
            "",
            "tasker:8080",
            "[::1]:8080",
            "http://tasker",
            "tasker/",
            "tasker.example.",
            "*.example.com",
            "a b",
        ] {
            assert!(check(host).is_err(), "{host}");
        }
    }
}

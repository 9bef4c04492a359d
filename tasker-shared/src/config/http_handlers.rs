//! Handlers in other languages, over HTTP.

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::macros::impl_builder_default;
use super::secret::Secret;

/// `[worker.http_handlers]`: callables that are URLs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpHandlersConfig {
    /// The hosts that steps may be sent to, each `host` or `host:port` as callables write it. Steps
    /// with other URLs are left to other workers.
    ///
    /// Default none.
    #[builder(default)]
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
    #[schemars(with = "String")]
    pub signing_secret: Secret,
}

impl_builder_default!(HttpHandlersConfig => HttpHandlersConfigBuilder);

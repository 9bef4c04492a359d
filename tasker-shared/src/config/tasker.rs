//! The root of the configuration.

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

pub use super::cache::{CacheConfig, CacheConfigBuilder, CacheEntryKind};
use super::checks;
pub use super::database::{
    DatabaseConfig, DatabaseConfigBuilder, PoolConfig, PoolConfigBuilder, PoolMode,
};
pub use super::execution::{ExecutionConfig, ExecutionConfigBuilder};
pub use super::http_handlers::{HttpHandlersConfig, HttpHandlersConfigBuilder};
use super::macros::impl_builder_default;
pub use super::redis::{RedisConfig, RedisConfigBuilder, RedisMode};
pub use super::secret::Secret;
pub use super::task_templates::{
    OnChangedVersion, TaskTemplatesConfig, TaskTemplatesConfigBuilder,
};
pub use super::upkeep::{UpkeepConfig, UpkeepConfigBuilder};
pub use super::web::{WebConfig, WebConfigBuilder};

/// The root of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskerConfig {
    /// Keys of all services.
    #[builder(default)]
    #[validate(nested)]
    pub common: CommonConfig,
    /// The orchestration service.
    #[builder(default)]
    #[validate(nested)]
    pub orchestration: OrchestrationConfig,
    /// The worker service.
    #[builder(default)]
    #[validate(nested)]
    pub worker: WorkerConfig,
}

/// `[common]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CommonConfig {
    /// The environment whose overrides apply to templates.
    #[builder(default = "String::from(\"development\")")]
    #[validate(length(min = 1, max = 64), custom(function = checks::environment))]
    pub environment: String,
    /// PostgreSQL.
    #[builder(default)]
    #[validate(nested)]
    pub database: DatabaseConfig,
    /// Folders and limits of task templates.
    #[builder(default)]
    #[validate(nested)]
    pub task_templates: TaskTemplatesConfig,
    /// The template cache. Off if the section is missing.
    #[builder(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub cache: Option<CacheConfig>,
    /// The reasons why the loader left `cache` out. Never read from a file.
    #[builder(default)]
    #[serde(skip)]
    pub cache_refused: Option<String>,
}

/// `[orchestration]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OrchestrationConfig {
    /// The HTTP server.
    #[builder(default = "listening_on(\"127.0.0.1:8080\")")]
    #[validate(nested)]
    pub web: WebConfig,
    /// Recurring work.
    #[builder(default)]
    #[validate(nested)]
    pub upkeep: UpkeepConfig,
}

/// `[worker]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// The HTTP server.
    #[builder(default = "listening_on(\"127.0.0.1:8081\")")]
    #[validate(nested)]
    pub web: WebConfig,
    /// Most templates, with the environment's overrides applied, that a worker's own cache holds.
    #[builder(default = "1000")]
    #[validate(range(min = 1))]
    pub template_cache_entries: u64,
    /// Running steps.
    #[builder(default)]
    #[validate(nested)]
    pub execution: ExecutionConfig,
    /// Handlers in other languages.
    #[builder(default)]
    #[validate(nested)]
    pub http_handlers: HttpHandlersConfig,
}

impl TaskerConfig {
    /// Returns the configuration as JSON. Passwords and other secrets are replaced by `***`.
    ///
    /// # Panics
    /// Never, because each field is a text, a number, a boolean, or a list or section of these.
    #[must_use]
    pub fn to_public_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("the configuration has text keys and plain values only")
    }
}

impl_builder_default!(
    TaskerConfig => TaskerConfigBuilder,
    CommonConfig => CommonConfigBuilder,
    OrchestrationConfig => OrchestrationConfigBuilder,
    WorkerConfig => WorkerConfigBuilder,
);

fn listening_on(address: &str) -> WebConfig {
    WebConfig {
        bind_address: address.to_owned(),
        ..WebConfig::default()
    }
}

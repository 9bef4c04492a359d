//! Folders and limits of task templates.

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::macros::impl_builder_default;

/// `[common.task_templates]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskTemplatesConfig {
    /// Folders that a worker searches for templates at start. `TASKER_TEMPLATE_PATH` replaces them.
    #[builder(default = "vec![String::from(\"config/tasks\")]")]
    pub search_paths: Vec<String>,
    /// Largest template file in bytes. A larger file is an error.
    #[builder(default = "1024 * 1024")]
    #[validate(range(min = 1024, max = 67_108_864))]
    pub max_file_bytes: u64,
}

impl_builder_default!(TaskTemplatesConfig => TaskTemplatesConfigBuilder);

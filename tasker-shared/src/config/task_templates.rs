//! Folders and limits of task templates.

use derive_builder::Builder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::macros::impl_builder_default;

/// `[common.task_templates]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Builder, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskTemplatesConfig {
    /// Folders that a worker searches for templates at start, at any depth. A path that ends with
    /// `*.yaml`, `*.yml` or `*.{yml,yaml}` selects the files of one folder; other patterns are errors.
    /// `TASKER_TEMPLATE_PATH` replaces them.
    #[builder(default = "vec![String::from(\"config/tasks\")]")]
    pub search_paths: Vec<String>,
    /// Largest template file in bytes. A larger file is an error.
    #[builder(default = "1024 * 1024")]
    #[validate(range(min = 1024, max = 67_108_864))]
    pub max_file_bytes: u64,
    /// Reaction of a boot to a file whose content differs from the registered content of the same
    /// version: `replace` registers it, `warn` registers it and logs a warning, `refuse` keeps the
    /// registered content and counts the file as refused.
    #[builder(default = "String::from(\"warn\")")]
    #[validate(custom(function = on_changed_version))]
    #[schemars(extend("enum" = ["replace", "warn", "refuse"]))]
    pub on_changed_version: String,
    /// A worker does not start if a template file is refused, and registers nothing from the folder of
    /// that file.
    #[builder(default = "false")]
    pub strict_boot: bool,
}

/// The values of `on_changed_version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum OnChangedVersion {
    /// Registers the new content.
    Replace,
    /// Registers the new content and logs a warning.
    Warn,
    /// Keeps the registered content.
    Refuse,
}

impl OnChangedVersion {
    /// Returns the value of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

impl TaskTemplatesConfig {
    /// Returns the reaction to changed content of a registered version.
    #[must_use]
    pub fn on_changed_version(&self) -> OnChangedVersion {
        OnChangedVersion::from_name(&self.on_changed_version).unwrap_or(OnChangedVersion::Warn)
    }
}

fn on_changed_version(name: &str) -> Result<(), ValidationError> {
    match OnChangedVersion::from_name(name) {
        Some(_) => Ok(()),
        None => Err(ValidationError::new("on_changed_version")
            .with_message("must be `replace`, `warn` or `refuse`".into())),
    }
}

impl_builder_default!(TaskTemplatesConfig => TaskTemplatesConfigBuilder);

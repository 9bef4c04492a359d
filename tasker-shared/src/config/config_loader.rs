//! Layers configuration sources and checks the result. (Stub.)

use super::tasker::TaskerConfig;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {}

/// A variable that configuration files may refer to.
#[derive(Debug, Clone, Copy)]
pub struct EnvVarRule;

/// Loads the configuration.
#[derive(Debug)]
pub struct ConfigLoader;

impl ConfigLoader {
    /// Loads from the process's environment and folders.
    pub fn load() -> Result<TaskerConfig, ConfigError> {
        Ok(TaskerConfig::default())
    }
}

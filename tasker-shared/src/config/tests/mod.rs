//! Tests of loading, on folders of their own and environments that are given, not set.

mod every_field;
mod generated;
mod layering;
mod problems;
mod redis;
mod reference;
mod secrets;
mod starting;
mod texts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::tasker::TaskerConfig;
use super::{ConfigError, ConfigLoader};

/// A configuration folder with the files that a test writes, by their paths below `tasker`.
struct Folder(TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().expect("a temporary folder can be made"));
        fs::create_dir(folder.0.path().join("tasker")).expect("a folder can be made");
        for (path, text) in files {
            let file = folder.file(path);
            fs::create_dir_all(file.parent().expect("the file is in the folder"))
                .expect("a folder can be made");
            fs::write(file, text).expect("a file can be written");
        }
        folder
    }

    fn file(&self, path: &str) -> PathBuf {
        self.0.path().join("tasker").join(path)
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<TaskerConfig, ConfigError> {
        ConfigLoader::new(Some(self.0.path().to_owned()), variables(env)).load()
    }
}

/// The configuration folder of this repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

fn variables(env: &[(&str, &str)]) -> BTreeMap<String, String> {
    env.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Loads without any file.
fn load_with(env: &[(&str, &str)]) -> Result<TaskerConfig, ConfigError> {
    ConfigLoader::new(None, variables(env)).load()
}

/// The problems as they are shown, one a line.
fn shown(result: Result<TaskerConfig, ConfigError>) -> Vec<String> {
    let error = result.expect_err("the configuration is wrong");
    error.to_string().lines().map(str::to_owned).collect()
}

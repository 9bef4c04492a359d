//! The folders in which a worker looks for template files at boot.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tasker_shared::config::tasker::TaskTemplatesConfig;

/// Names the directories to search in place of the configured ones, separated by `:`.
pub const TEMPLATE_PATH_VARIABLE: &str = "TASKER_TEMPLATE_PATH";

const SEARCH_PATHS_KEY: &str = "common.task_templates.search_paths";

/// Errors of the named folders.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateDirectoryError {
    /// A directory is missing, is no directory, or cannot be read.
    #[error(
        "the template directory {} cannot be searched; {named_by} names {tried:?}: \
         create it, or name existing directories in {named_by}",
        path.display()
    )]
    Unusable {
        /// The first directory that cannot be searched.
        path: PathBuf,
        /// The variable or configuration key that names it.
        named_by: &'static str,
        /// Everything that was named.
        tried: Vec<PathBuf>,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A pattern that is not supported.
    #[error(
        "the pattern {} in {named_by} is not supported: name a folder, which is searched at any depth, \
         or end the path with `*.yaml`, `*.yml` or `*.{{yml,yaml}}` for the files of one folder",
        path.display()
    )]
    Pattern {
        /// The path with the pattern.
        path: PathBuf,
        /// The variable or configuration key that names it.
        named_by: &'static str,
    },
    /// No directory is named at all.
    #[error(
        "no template directory is named: set TASKER_TEMPLATE_PATH, or \
         common.task_templates.search_paths in the configuration"
    )]
    NoneNamed,
}

/// The directories that a worker searches, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateDirectories {
    named_by: &'static str,
    paths: Vec<PathBuf>,
}

impl TemplateDirectories {
    /// The directories that the environment of this process names, else those of `config`.
    #[must_use]
    pub fn from_env(config: &TaskTemplatesConfig) -> Self {
        Self::named(std::env::var_os(TEMPLATE_PATH_VARIABLE).as_deref(), config)
    }

    /// The directories that `variable` names, else those of `config`. A variable that is empty
    /// counts as unset. Relative paths are relative to the working directory.
    #[must_use]
    pub fn named(variable: Option<&OsStr>, config: &TaskTemplatesConfig) -> Self {
        let paths: Vec<PathBuf> = variable
            .into_iter()
            .flat_map(std::env::split_paths)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        if paths.is_empty() {
            Self {
                named_by: SEARCH_PATHS_KEY,
                paths: config.search_paths.iter().map(PathBuf::from).collect(),
            }
        } else {
            Self {
                named_by: TEMPLATE_PATH_VARIABLE,
                paths,
            }
        }
    }

    /// Returns the variable or configuration key that names the folders.
    #[must_use]
    pub fn named_by(&self) -> &'static str {
        self.named_by
    }

    /// The directories, unchecked.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Checks that every directory can be read, those of patterns included.
    ///
    /// One that is missing fails them all: a worker that boots without half of its templates
    /// because of a misspelt path would serve the other half, and nobody would notice.
    pub async fn check(&self) -> Result<(), TemplateDirectoryError> {
        if self.paths.is_empty() {
            return Err(TemplateDirectoryError::NoneNamed);
        }
        for path in &self.paths {
            let folder = match self.pattern(path)? {
                Some(pattern) => pattern.folder,
                None => path.clone(),
            };
            if let Err(source) = tokio::fs::read_dir(folder).await {
                return Err(self.unusable(path, source));
            }
        }
        Ok(())
    }

    /// Returns the files that `path` selects if its last part is a pattern, in the order of their names,
    /// and nothing if it is a folder. A pattern selects no hidden file.
    ///
    /// # Errors
    /// Fails if the folder of a pattern cannot be read, or the pattern is not supported.
    pub async fn files_of(
        &self,
        path: &Path,
    ) -> Result<Option<Vec<PathBuf>>, TemplateDirectoryError> {
        let Some(pattern) = self.pattern(path)? else {
            return Ok(None);
        };
        let found = pattern.files().await;
        Ok(Some(found.map_err(|source| self.unusable(path, source))?))
    }

    /// Returns nothing if `path` is no pattern, or is a folder with such a name.
    fn pattern(&self, path: &Path) -> Result<Option<FilePattern>, TemplateDirectoryError> {
        let has_pattern = path.as_os_str().as_encoded_bytes().iter();
        if !has_pattern.copied().any(|byte| b"*?[{".contains(&byte)) || path.is_dir() {
            return Ok(None);
        }
        let refused = || TemplateDirectoryError::Pattern {
            path: path.to_owned(),
            named_by: self.named_by,
        };
        FilePattern::of(path).ok_or_else(refused).map(Some)
    }

    fn unusable(&self, path: &Path, source: std::io::Error) -> TemplateDirectoryError {
        TemplateDirectoryError::Unusable {
            path: path.to_owned(),
            named_by: self.named_by,
            tried: self.paths.clone(),
            source,
        }
    }
}

/// The files of one folder with some of the endings of templates.
#[derive(Debug)]
struct FilePattern {
    folder: PathBuf,
    endings: &'static [&'static str],
}

impl FilePattern {
    fn of(path: &Path) -> Option<Self> {
        let endings: &[&str] = match path.file_name()?.to_str()? {
            "*.yaml" | "*.{yaml}" => &["yaml"],
            "*.yml" | "*.{yml}" => &["yml"],
            "*.{yml,yaml}" | "*.{yaml,yml}" => &["yaml", "yml"],
            _ => return None,
        };
        let parent = path.parent()?;
        let names_one = parent.as_os_str().as_encoded_bytes().iter();
        let names_one = !names_one.copied().any(|byte| b"*?[{".contains(&byte));
        let folder = if parent.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            parent.to_owned()
        };
        (names_one || folder.is_dir()).then_some(Self { folder, endings })
    }

    async fn files(&self) -> std::io::Result<Vec<PathBuf>> {
        let mut entries = tokio::fs::read_dir(&self.folder).await?;
        let mut files = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let path = entry.path();
            let ending = path.extension().and_then(OsStr::to_str);
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            let is_selected = ending.is_some_and(|ending| self.endings.contains(&ending));
            if is_selected && !is_hidden && !path.is_dir() {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::PathBuf;

    use tasker_shared::config::tasker::TaskTemplatesConfig;

    use super::{TemplateDirectories, TemplateDirectoryError};

    fn config(paths: &[&str]) -> TaskTemplatesConfig {
        TaskTemplatesConfig {
            search_paths: paths.iter().map(ToString::to_string).collect(),
            ..TaskTemplatesConfig::default()
        }
    }

    #[test]
    fn the_variable_replaces_the_configured_paths_and_may_name_several() {
        let variable = OsStr::new("/first:second");
        let directories = TemplateDirectories::named(Some(variable), &config(&["configured"]));

        assert_eq!(directories.named_by(), "TASKER_TEMPLATE_PATH");
        assert_eq!(
            directories.paths(),
            [PathBuf::from("/first"), PathBuf::from("second")]
        );
    }

    #[test]
    fn an_unset_or_empty_variable_leaves_the_configured_paths() {
        for variable in [None, Some(OsStr::new("")), Some(OsStr::new(":"))] {
            let directories = TemplateDirectories::named(variable, &config(&["a", "b"]));
            assert_eq!(directories.named_by(), "common.task_templates.search_paths");
            assert_eq!(
                directories.paths(),
                [PathBuf::from("a"), PathBuf::from("b")]
            );
        }
    }

    #[tokio::test]
    async fn a_missing_directory_is_an_error_that_names_it_and_all_that_was_tried() {
        let there = tempfile::tempdir().unwrap();
        let there = there.path().to_str().unwrap();
        let variable = format!("{there}:/no/such/directory");
        let directories =
            TemplateDirectories::named(Some(OsStr::new(&variable)), &config(&["unused"]));

        let error = directories.check().await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, TemplateDirectoryError::Unusable { .. }));
        for expected in ["/no/such/directory", there, "TASKER_TEMPLATE_PATH"] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[tokio::test]
    async fn a_pattern_selects_the_files_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deeper.yaml")).unwrap();
        for name in ["b.yml", "a.yaml", "c.txt", ".d.yaml", "deeper.yaml/e.yaml"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let there = folder.path().to_str().unwrap();
        for (pattern, expected) in [
            ("*.{yml,yaml}", &["a.yaml", "b.yml"][..]),
            ("*.{yaml,yml}", &["a.yaml", "b.yml"]),
            ("*.yaml", &["a.yaml"]),
            ("*.yml", &["b.yml"]),
        ] {
            let path = format!("{there}/{pattern}");
            let directories = TemplateDirectories::named(None, &config(&[&path]));
            directories.check().await.unwrap();
            let files = directories.files_of(path.as_ref()).await.unwrap().unwrap();
            let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap()).collect();
            assert_eq!(names, expected, "{pattern}");
        }
        assert_eq!(
            TemplateDirectories::named(None, &config(&[there]))
                .files_of(there.as_ref())
                .await
                .unwrap(),
            None
        );
    }

    #[tokio::test]
    async fn a_pattern_in_a_missing_folder_or_of_another_kind_is_an_error() {
        let missing = TemplateDirectories::named(None, &config(&["/no/such/*.{yml,yaml}"]));
        assert!(matches!(
            missing.check().await,
            Err(TemplateDirectoryError::Unusable { .. })
        ));
        for pattern in [
            "/tmp/**/*.yaml",
            "/tmp/*",
            "/t?p/*.yaml",
            "/tmp/{a,b}",
            "/tmp/*.json",
        ] {
            let directories = TemplateDirectories::named(None, &config(&[pattern]));
            let error = directories.check().await.unwrap_err();
            assert!(error.to_string().contains(pattern), "{error}");
            assert!(
                matches!(error, TemplateDirectoryError::Pattern { .. }),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_file_in_place_of_a_directory_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let directories = TemplateDirectories::named(Some(file.path().as_os_str()), &config(&[]));
        assert!(directories.check().await.is_err());
    }

    #[tokio::test]
    async fn no_directory_at_all_is_an_error() {
        let directories = TemplateDirectories::named(None, &config(&[]));
        assert!(matches!(
            directories.check().await,
            Err(TemplateDirectoryError::NoneNamed)
        ));
    }
}

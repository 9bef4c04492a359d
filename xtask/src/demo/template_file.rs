//! The template files on disk, and changing one as its author would.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::XtaskError;

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<(), XtaskError> {
    for entry in WalkDir::new(from) {
        let entry = entry?;
        let relative = entry.path().strip_prefix(from).unwrap_or(Path::new(""));
        let target = to.join(relative);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target).map_err(XtaskError::file(target))?;
        } else {
            fs::copy(entry.path(), &target).map_err(XtaskError::file(target))?;
        }
    }
    Ok(())
}

/// A template's file whose description stands on one line.
#[derive(Debug)]
pub(crate) struct TemplateFile {
    path: PathBuf,
    text: String,
}

impl TemplateFile {
    /// The file in this folder that holds the template of this name.
    pub(crate) fn find(folder: &Path, name: &str) -> Result<Option<Self>, XtaskError> {
        for entry in WalkDir::new(folder).sort_by_file_name() {
            let path = entry?.into_path();
            if !path.is_file() {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(XtaskError::file(&path))?;
            let is_it = text.lines().any(|line| scalar(line, "name") == Some(name));
            if is_it && text.lines().any(is_description) {
                return Ok(Some(Self { path, text }));
            }
        }
        Ok(None)
    }

    /// Its name, for people.
    pub(crate) fn file_name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Writes another description into the file.
    pub(crate) fn describe(&self, description: &str) -> Result<(), XtaskError> {
        let lines = self.text.lines().map(|line| {
            if is_description(line) {
                format!("description: \"{description}\"\n")
            } else {
                format!("{line}\n")
            }
        });
        fs::write(&self.path, lines.collect::<String>()).map_err(XtaskError::file(&self.path))
    }
}

/// The value of a top-level key that stands on this line.
fn scalar<'line>(line: &'line str, key: &str) -> Option<&'line str> {
    let value = line.strip_prefix(key)?.strip_prefix(':')?.trim();
    Some(value.trim_matches(['"', '\'']))
}

/// A block scalar starts with `>` or `|` and goes on in the lines below.
fn is_description(line: &str) -> bool {
    scalar(line, "description")
        .is_some_and(|text| !text.is_empty() && !text.starts_with(['>', '|']))
}

#[cfg(test)]
mod tests {
    use super::TemplateFile;

    #[test]
    fn only_the_templates_own_description_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        let text = "name: \"a\"\ndescription: old\nsteps:\n  - name: b\n    description: of b\n";
        std::fs::write(&path, text).unwrap();
        std::fs::write(
            folder.path().join("b.yaml"),
            "name: b\ndescription: |\n  block\n",
        )
        .unwrap();

        assert!(TemplateFile::find(folder.path(), "b").unwrap().is_none());
        let file = TemplateFile::find(folder.path(), "a").unwrap().unwrap();
        file.describe("new").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "name: \"a\"\ndescription: \"new\"\nsteps:\n  - name: b\n    description: of b\n"
        );
    }
}

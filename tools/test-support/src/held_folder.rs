//! A temporary folder that is removed even when we are killed.

use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::held_shell::HeldShell;
use crate::{TestkitError, folder};

/// Waits for the pipe to close, then removes the folder.
const REMOVE: &str = r#"
trap '' HUP INT TERM
while read -r order; do :; done
rm -rf "$1"
"#;

/// An empty folder with a name that nobody else has. It is removed with all that is in it on drop,
/// or when this process ends, however it comes.
#[derive(Debug)]
pub struct HeldFolder {
    path: PathBuf,
    _remover: HeldShell,
}

impl HeldFolder {
    /// Makes a folder.
    pub fn create() -> Result<Self, TestkitError> {
        Self::create_as(None)
    }

    /// Makes a folder that the servers of this crate can read, whoever they run as.
    pub(crate) fn create_for_servers() -> Result<Self, TestkitError> {
        Self::create_as(Account::unprivileged()?)
    }

    fn create_as(account: Option<Account>) -> Result<Self, TestkitError> {
        let folder = folder::create("tasker-", account)?;
        let remover = HeldShell::start(REMOVE, &[folder.path().into()], &[], None)
            .map_err(TestkitError::Folder)?;
        Ok(Self {
            path: folder.keep(),
            _remover: remover,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::HeldFolder;

    #[test]
    fn a_dropped_folder_is_gone_with_what_was_in_it() {
        let folder = HeldFolder::create().unwrap();
        let path = folder.path().to_path_buf();
        std::fs::write(path.join("file"), "content").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}

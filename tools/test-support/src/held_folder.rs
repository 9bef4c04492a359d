//! A temporary folder that is removed even when this process is killed.

use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::held_shell::HeldShell;
use crate::{Result, folder};

/// Waits for the pipe to close, then removes the folder.
const REMOVE: &str = r#"
trap '' HUP INT TERM
while read -r order; do :; done
rm -rf "$1"
"#;

/// A new folder. It is removed with its files on drop, or when this process ends, however it ends.
#[derive(Debug)]
pub struct HeldFolder {
    path: PathBuf,
    _remover: HeldShell,
}

impl HeldFolder {
    /// Creates a folder.
    pub fn create() -> Result<Self> {
        Self::create_as(None)
    }

    /// Creates a folder that the servers of this crate can read.
    pub fn create_for_servers() -> Result<Self> {
        Self::create_as(Account::unprivileged()?)
    }

    fn create_as(account: Option<Account>) -> Result<Self> {
        let folder = folder::create("tasker-", account)?;
        let remover = HeldShell::start(REMOVE, &[folder.path().into()], &[], None)?;
        Ok(Self {
            path: folder.keep(),
            _remover: remover,
        })
    }

    /// Returns its path.
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

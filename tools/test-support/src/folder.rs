//! The temporary folder that holds a server's files.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Result;
use crate::account::Account;

/// Creates a folder that belongs to the user whom the server runs as. It is removed on drop, unless
/// a supervisor takes it over by [`TempDir::keep`].
pub(crate) fn create(prefix: &str, account: Option<Account>) -> Result<TempDir> {
    // Root's own temporary folder may be one that nobody else can enter.
    let parent = match account {
        Some(_) if Path::new("/tmp").is_dir() => PathBuf::from("/tmp"),
        _ => std::env::temp_dir(),
    };
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
    if let Some(Account { uid, gid }) = account {
        chown(folder.path(), Some(uid), Some(gid))?;
    }
    Ok(folder)
}

//! Server programs that are installed on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest PostgreSQL that Tasker supports.
const OLDEST_POSTGRES: u32 = 15;

/// The folder that holds `initdb` and `postgres` of a supported version: on PATH, else the newest
/// of Debian's.
pub(crate) fn postgres_bin() -> Option<PathBuf> {
    let on_path = path_folders().filter_map(|folder| {
        // A link on PATH leads to the folder where the other programs are.
        let program = folder.join("postgres").canonicalize().ok()?;
        program.parent().map(Path::to_path_buf)
    });
    let mut debian: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    debian.sort_by(|left, right| right.cmp(left));
    on_path
        .chain(debian.into_iter().map(|(_, folder)| folder))
        .find(|folder| is_supported_postgres(folder))
}

/// `redis-server`, else `valkey-server`, on PATH.
pub(crate) fn redis_server() -> Option<PathBuf> {
    on_path("redis-server").or_else(|| on_path("valkey-server"))
}

/// The first program of this name on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    path_folders()
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn is_supported_postgres(folder: &Path) -> bool {
    folder.join("initdb").is_file()
        && Command::new(folder.join("postgres"))
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .ok()
            .and_then(|output| major_version(&String::from_utf8_lossy(&output.stdout)))
            .is_some_and(|major| major >= OLDEST_POSTGRES)
}

/// The 15 of `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, and of `16beta1`.
fn major_version(output: &str) -> Option<u32> {
    let (_, version) = output.split_once("(PostgreSQL) ")?;
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major_version;

    #[test]
    fn versions_are_read_as_postgres_prints_them() {
        assert_eq!(
            major_version("postgres (PostgreSQL) 15.14 (Debian 15.14-0)\n"),
            Some(15)
        );
        assert_eq!(major_version("postgres (PostgreSQL) 19devel\n"), Some(19));
        assert_eq!(major_version("postgres (PostgreSQL) 18\n"), Some(18));
        assert_eq!(major_version("something else 15"), None);
    }
}

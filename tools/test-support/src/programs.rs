//! Server programs of this machine: found, or installed from Debian packages.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// The oldest PostgreSQL that Tasker supports.
const OLDEST_POSTGRES: u32 = 15;
/// Set in the environment, it forbids [`ensure_program`] to install anything.
const NO_INSTALL: &str = "TASKER_NO_INSTALL";
/// Servers are often outside of an ordinary user's `PATH`.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Installing a server package would also start its server. Package scripts ask `policy-rc.d`
/// first, and its 101 forbids it. An existing one is the administrator's and stays.
const INSTALL: &str = r"
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2
apt-get install -q -y --no-install-recommends --no-upgrade -o DPkg::Lock::Timeout=120 $1 >&2
";

/// Returns the path of a program. Installs the Debian package that contains it if the program is
/// missing, we are root on Debian or Ubuntu, and `TASKER_NO_INSTALL` is not set.
pub(crate) async fn ensure_program(name: &'static str, package: &'static str) -> Result<PathBuf> {
    ensure(name, package, move || on_path(name)).await
}

/// Returns the folder that holds `initdb` and `postgres` of a supported version, installed if need
/// be.
pub(crate) async fn ensure_postgres() -> Result<PathBuf> {
    ensure("postgres", "postgresql", postgres_bin).await
}

/// Returns the path of a program of PostgreSQL, such as `pg_dump`, installed if need be.
pub async fn postgres_program(name: &str) -> Result<PathBuf> {
    Ok(ensure_postgres().await?.join(name))
}

/// Returns `redis-server`, else `valkey-server`, installed if need be.
pub(crate) async fn ensure_redis() -> Result<PathBuf> {
    ensure("redis-server", "redis-server", redis_server).await
}

async fn ensure(
    program: &'static str,
    debian_package: &'static str,
    find: impl Fn() -> Option<PathBuf> + Send + 'static,
) -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    let missing = format!(
        "`{program}` is not on PATH and cannot be installed from here; install it (on Debian: \
         apt-get install {debian_package}), start a Docker engine, or name running servers in \
         DATABASE_URL and REDIS_URL"
    );
    if !may_install() {
        return Err(missing.into());
    }
    let installed = tokio::task::spawn_blocking(move || {
        // Tests run side by side, and each may be the first to need the program.
        let lock = File::create(std::env::temp_dir().join("tasker-install.lock")).ok()?;
        lock.lock().ok()?;
        if find().is_none() {
            eprintln!("installing {debian_package} with apt-get");
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", INSTALL, "install", debian_package]);
            shell.stdin(Stdio::null()).status().ok()?;
        }
        find()
    });
    Ok(installed.await.ok().flatten().ok_or(missing)?)
}

fn may_install() -> bool {
    rustix::process::geteuid().is_root()
        && Path::new("/etc/debian_version").exists()
        && on_path("apt-get").is_some()
        && std::env::var_os(NO_INSTALL).is_none()
}

/// `postgres` on `PATH` decides, else the newest of Debian's versions.
pub(crate) fn postgres_bin() -> Option<PathBuf> {
    let on_path = folders().filter_map(|folder| {
        // A link on PATH leads to the folder that has the other programs.
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

pub(crate) fn redis_server() -> Option<PathBuf> {
    on_path("redis-server").or_else(|| on_path("valkey-server"))
}

/// Returns the first program of this name on `PATH`, else in the system's folders.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    folders()
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    path.into_iter().chain(SYSTEM_FOLDERS.map(PathBuf::from))
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

/// Returns the 15 of `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, and of `15beta1`.
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

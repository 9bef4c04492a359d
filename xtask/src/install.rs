//! Installing server programs where we may: as root on Debian or Ubuntu.

use std::path::Path;

use tokio::process::Command;

use crate::cargo;
use crate::error::XtaskError;

/// Installing a server package would start the server, on its usual port and for good. Package
/// scripts ask this program first, and its 101 forbids it. A program that is there already is the
/// administrator's and stays.
const INSTALL: &str = r"
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2 &&
    apt-get install -q -y --no-install-recommends --no-upgrade -o DPkg::Lock::Timeout=120 $* >&2
";

/// Whether packages can be installed at all.
pub(crate) fn possible() -> bool {
    rustix::process::geteuid().is_root()
        && Path::new("/etc/debian_version").exists()
        && Path::new("/usr/bin/apt-get").exists()
}

/// Installs Debian packages, without starting the servers in them.
pub(crate) async fn packages(names: &[&str]) -> Result<(), XtaskError> {
    eprintln!("installing with apt-get: {}", names.join(", "));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", INSTALL, "install"]).args(names);
    cargo::succeed(command).await
}

//! Starting cargo, and the tools of this workspace through it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, Result};

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Returns a cargo command that runs in the workspace's root.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.arg(subcommand).current_dir(root());
    // `cargo run` describes this package in variables. Build scripts that read them would run
    // again, and with them half of the build, whenever they come and go.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Returns the command that runs the command appended to it with a PostgreSQL and a Redis.
pub(crate) fn with_servers() -> Command {
    let mut command = cargo("run");
    command.args(["--quiet", "--package", "tasker-test-support"]);
    command.args(["--bin", "with-servers", "--"]);
    command
}

/// Runs a command to its end.
pub(crate) fn succeed(mut command: Command) -> Result {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} failed: {status}", shown(&command)).into()),
        Err(error) => Err(format!("{} cannot be run: {error}", shown(&command)).into()),
    }
}

/// Builds packages and examples of them in a profile, and becomes the program of the first package.
/// Signals then reach it directly. Returns only if that fails.
pub(crate) fn become_tool(
    profile: &str,
    packages: &[&str],
    examples: &[&str],
    arguments: impl IntoIterator<Item = OsString>,
) -> Failure {
    // Together, because by themselves the packages would enable other features of dependencies.
    let mut build = cargo("build");
    build.args(["--profile", profile, "--bins"]);
    build.args(packages.iter().flat_map(|package| ["--package", package]));
    build.args(examples.iter().flat_map(|example| ["--example", example]));
    if let Err(error) = succeed(build) {
        return error;
    }
    let folder = if profile == "dev" { "debug" } else { profile };
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return error.into(),
    };
    let target = own.ancestors().nth(2).unwrap_or(Path::new("target"));
    let mut tool = Command::new(target.join(folder).join(packages[0]));
    tool.args(arguments);
    become_command(tool)
}

/// Replaces this process by a command. Returns only if that fails.
pub(crate) fn become_command(mut command: Command) -> Failure {
    let error = command.exec();
    format!("{} cannot be run: {error}", shown(&command)).into()
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let words: Vec<_> = program
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    words.join(" ")
}

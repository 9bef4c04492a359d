//! Starting cargo, and the programs of this workspace through it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// The features with which everything is built, because cargo compiles a crate again for each other
/// set of features.
pub(crate) const ALL: [&str; 2] = ["--workspace", "--all-features"];

/// The services, and a worker with handlers. Examples also bring in the features of
/// dev-dependencies, which tests have.
const SERVICES: [&str; 6] = [
    "--bin",
    "tasker-worker",
    "--bin",
    "tasker-orchestration",
    "--example",
    "example_worker",
];

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Returns a cargo command that runs in the workspace's root.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = command(program);
    cargo.arg(subcommand);
    cargo
}

/// Returns a command that runs in the workspace's root.
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
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
pub(crate) fn with_servers() -> Result<Command> {
    Ok(command(built("dev", "with-servers", &[])?))
}

/// Builds a tool, and the services if it is not optimised, and becomes the tool. Signals then reach
/// it directly. Returns only if that fails.
pub(crate) fn become_tool(profile: &str, tool: &str, arguments: Vec<OsString>) -> Result {
    let services: &[&str] = if profile == "dev" { &SERVICES } else { &[] };
    let tool = built(profile, tool, services)?;
    become_command(Command::new(tool).args(arguments))
}

/// Builds a program in a profile, together with other targets, and returns its path.
fn built(profile: &str, program: &str, others: &[&str]) -> Result<PathBuf> {
    let mut build = cargo("build");
    build.args(["--profile", profile, "--bin", program]);
    build.args(ALL).args(others);
    succeed(build)?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).unwrap_or(Path::new("target"));
    Ok(target.join(folder).join(program))
}

/// Runs a command to its end.
pub(crate) fn succeed(mut command: Command) -> Result {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} failed: {status}", shown(&command)).into()),
        Err(error) => Err(format!("{} cannot be run: {error}", shown(&command)).into()),
    }
}

/// Replaces this process by a command. Returns only if that fails.
pub(crate) fn become_command(command: &mut Command) -> Result {
    let error = command.exec();
    Err(format!("{} cannot be run: {error}", shown(command)).into())
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

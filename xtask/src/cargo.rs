//! Running cargo from within `cargo run`.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::error::XtaskError;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The folder that holds this program, and the services once they are built.
pub(crate) fn target_folder() -> Result<PathBuf, XtaskError> {
    let program = std::env::current_exe().map_err(XtaskError::file("the program's own path"))?;
    Ok(program.parent().unwrap_or(Path::new(".")).to_path_buf())
}

/// Cargo, as if a person had called it in the workspace's root.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root()).kill_on_drop(true);
    // `cargo run` tells us about our own package. Build scripts that look at these variables
    // would run again, and with them half of the build, whenever they come and go.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end. Its output is ours.
pub(crate) async fn succeed(mut command: Command) -> Result<(), XtaskError> {
    let program = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let status = command.status().await.map_err(|source| XtaskError::Spawn {
        program: program.clone(),
        source,
    })?;
    if status.success() {
        return Ok(());
    }
    let arguments = command
        .as_std()
        .get_args()
        .map(|argument| argument.to_string_lossy());
    let name = Path::new(&program)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let words: Vec<_> = std::iter::once(name).chain(arguments).collect();
    Err(XtaskError::Command {
        command: words.join(" "),
        status,
    })
}

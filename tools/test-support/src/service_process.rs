//! A program that must not outlive this process.

use std::path::Path;

use crate::supervisor::Supervised;
use crate::{TestkitError, folder};

/// A running program. It gets SIGTERM on drop, or when this process ends, however it ends, and is
/// killed five seconds later.
#[derive(Debug)]
pub struct ServiceProcess {
    process: Supervised,
}

impl ServiceProcess {
    /// Starts a program as the same user, with this process's environment extended by
    /// `environment`. Returns when its process exists, which is before it is ready.
    pub async fn start(
        name: &'static str,
        program: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self, TestkitError> {
        let folder = folder::create("tasker-service-", None)?;
        let command = [program.into()];
        let process = Supervised::new(name, folder, None, "TERM", &command, environment)?;
        process.start().await?;
        Ok(Self { process })
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn stop(&self) -> Result<(), TestkitError> {
        self.process.stop().await
    }

    /// Kills the program and waits for its end.
    pub async fn kill(&self) -> Result<(), TestkitError> {
        self.process.kill().await
    }

    /// Suspends the program; its connections stay open.
    pub fn freeze(&self) -> Result<(), TestkitError> {
        self.process.freeze()
    }

    /// Resumes a frozen program.
    pub fn thaw(&self) -> Result<(), TestkitError> {
        self.process.thaw()
    }

    /// Fails, with the program's output, if it has ended.
    pub fn check_alive(&self) -> Result<(), TestkitError> {
        self.process.check_alive()
    }

    /// Returns the folder below `/proc` of the running program.
    #[must_use]
    pub fn proc_folder(&self) -> Option<String> {
        self.process.proc_folder()
    }

    /// Returns everything that the program wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

//! A program of our own that must not outlive us.

use std::path::Path;

use crate::supervisor::Supervised;
use crate::{TestkitError, folder};

/// A running program, told to end with SIGTERM on drop, or when this process ends, however it
/// comes. One that does not obey within five seconds is killed.
#[derive(Debug)]
pub struct ServiceProcess {
    process: Supervised,
}

impl ServiceProcess {
    /// Starts a program as the user that we are, with our environment and `environment` above it.
    /// Returns when its process exists, which is before it is ready for anything.
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

    /// Tells the program to end, and waits until it has.
    pub async fn stop(&self) -> Result<(), TestkitError> {
        self.process.stop().await
    }

    /// Kills the program at once, and waits until it is gone.
    pub async fn kill(&self) -> Result<(), TestkitError> {
        self.process.kill().await
    }

    /// Stops the program from running without its connections noticing.
    pub fn freeze(&self) -> Result<(), TestkitError> {
        self.process.freeze()
    }

    /// Lets a frozen program run on.
    pub fn thaw(&self) -> Result<(), TestkitError> {
        self.process.thaw()
    }

    /// Fails, with the program's output, if it has ended.
    pub fn check_alive(&self) -> Result<(), TestkitError> {
        match self.process.exit_status() {
            None => Ok(()),
            Some(status) => Err(TestkitError::exited(
                self.process.program(),
                status,
                &self.process.log(),
            )),
        }
    }

    /// Everything that the program wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

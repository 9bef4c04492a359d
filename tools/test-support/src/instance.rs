//! A server that runs, as a program of this machine or in a container.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::TestkitError;
use crate::container::Container;
use crate::supervisor::Supervised;

const READY_DEADLINE: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

/// One server, with the same controls whatever it runs in.
#[derive(Debug)]
pub(crate) enum Instance {
    Program(Supervised),
    Container(Container),
}

impl Instance {
    /// Starts the server, after stopping it if it runs, and waits until it is ready.
    pub(crate) async fn restart<Probe>(&self, probe: impl Fn() -> Probe) -> Result<(), TestkitError>
    where
        Probe: Future<Output = bool>,
    {
        self.stop().await?;
        match self {
            Self::Program(program) => program.start().await?,
            Self::Container(container) => container.start().await?,
        }
        self.ready(probe).await
    }

    /// Waits until the probe says that the server answers. A server that ends instead is noticed
    /// at once.
    pub(crate) async fn ready<Probe>(&self, probe: impl Fn() -> Probe) -> Result<(), TestkitError>
    where
        Probe: Future<Output = bool>,
    {
        let start = Instant::now();
        loop {
            self.check_alive().await?;
            if let Ok(true) = tokio::time::timeout(PROBE_TIMEOUT, probe()).await {
                return self.check_alive().await;
            }
            if start.elapsed() > READY_DEADLINE {
                let log = self.log().await;
                let action = "accept connections";
                return Err(TestkitError::too_slow(
                    self.program(),
                    action,
                    READY_DEADLINE,
                    &log,
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) async fn stop(&self) -> Result<(), TestkitError> {
        match self {
            Self::Program(program) => program.stop().await,
            Self::Container(container) => container.stop().await,
        }
    }

    pub(crate) async fn kill(&self) -> Result<(), TestkitError> {
        match self {
            Self::Program(program) => program.kill().await,
            Self::Container(container) => container.kill().await,
        }
    }

    pub(crate) async fn freeze(&self) -> Result<(), TestkitError> {
        match self {
            Self::Program(program) => program.freeze(),
            Self::Container(container) => container.freeze().await,
        }
    }

    pub(crate) async fn thaw(&self) -> Result<(), TestkitError> {
        match self {
            Self::Program(program) => program.thaw(),
            Self::Container(container) => container.thaw().await,
        }
    }

    pub(crate) async fn log(&self) -> String {
        match self {
            Self::Program(program) => program.log(),
            Self::Container(container) => container.log().await,
        }
    }

    /// The folder with the server's files, where this machine can see them.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Program(program) => Some(program.folder()),
            Self::Container(_) => None,
        }
    }

    fn program(&self) -> &'static str {
        match self {
            Self::Program(program) => program.program(),
            Self::Container(container) => container.image(),
        }
    }

    /// Fails if the server has ended.
    async fn check_alive(&self) -> Result<(), TestkitError> {
        let status = match self {
            Self::Program(program) => program.exit_status(),
            Self::Container(container) => container.exit_status().await?,
        };
        match status {
            None => Ok(()),
            Some(status) => Err(TestkitError::exited(
                self.program(),
                status,
                &self.log().await,
            )),
        }
    }
}

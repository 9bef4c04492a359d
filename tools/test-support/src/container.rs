//! A server in a container of a Docker engine.

use std::mem::ManuallyDrop;
use std::time::Duration;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use uuid::Uuid;

use crate::TestkitError;
use crate::docker::Engine;
use crate::held_shell::HeldShell;

/// Pulling an image over a slow line takes its time; an engine that hangs must not take forever.
const CREATE_DEADLINE: Duration = Duration::from_mins(3);

/// Waits for the pipe to close, then removes the container with its volumes.
const REMOVE: &str = r#"
trap '' HUP INT TERM
while read -r order; do :; done
DOCKER_HOST=$2 "$1" rm --force --volumes "$3"
"#;

/// What to run, and how.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) image: &'static str,
    pub(crate) tag: &'static str,
    /// The port inside the container.
    pub(crate) port: u16,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    pub(crate) command: Vec<String>,
}

/// One container. On drop, or when this process ends, it is removed.
#[derive(Debug)]
pub(crate) struct Container {
    image: &'static str,
    /// Never dropped: its destructor needs a runtime, and the shell removes the container anyway.
    handle: ManuallyDrop<Box<ContainerAsync<GenericImage>>>,
    _remover: HeldShell,
}

impl Container {
    /// Creates and starts a container whose port is published on `port` of this machine, pulling
    /// the image if the engine does not have it.
    pub(crate) async fn create(
        engine: &Engine,
        recipe: Recipe,
        port: u16,
    ) -> Result<Self, TestkitError> {
        let image = recipe.image;
        let name = format!("tasker-test-support-{image}-{}", Uuid::now_v7().simple());
        // The remover is there before the container is: it does not matter how far we get.
        let arguments = [
            engine.client.clone().into(),
            engine.endpoint.clone().into(),
            name.clone().into(),
        ];
        let remover = HeldShell::start(REMOVE, &arguments, &[], None).map_err(|source| {
            TestkitError::Supervisor {
                program: image,
                source,
            }
        })?;
        let loopback_only = engine.is_local();
        let mut request = GenericImage::new(image, recipe.tag)
            .with_wait_for(WaitFor::Nothing)
            .with_container_name(name)
            .with_mapped_port(port, recipe.port.tcp())
            .with_cmd(recipe.command)
            .with_host_config_modifier(move |host| {
                let bindings = host
                    .port_bindings
                    .iter_mut()
                    .flat_map(|map| map.values_mut());
                for binding in bindings.flatten().flatten() {
                    binding.host_ip = loopback_only.then(|| String::from("127.0.0.1"));
                }
            });
        for (name, value) in recipe.environment {
            request = request.with_env_var(*name, *value);
        }
        let container = tokio::time::timeout(CREATE_DEADLINE, request.start())
            .await
            .map_err(|_| TestkitError::too_slow(image, "start", CREATE_DEADLINE, ""))??;
        Ok(Self {
            image,
            handle: ManuallyDrop::new(Box::new(container)),
            _remover: remover,
        })
    }

    pub(crate) fn image(&self) -> &'static str {
        self.image
    }

    /// The host by which the container's ports are reached.
    pub(crate) async fn host(&self) -> Result<String, TestkitError> {
        Ok(self.handle.get_host().await?.to_string())
    }

    pub(crate) async fn start(&self) -> Result<(), TestkitError> {
        Ok(self.handle.start().await?)
    }

    pub(crate) async fn stop(&self) -> Result<(), TestkitError> {
        self.end(5).await
    }

    pub(crate) async fn kill(&self) -> Result<(), TestkitError> {
        self.end(0).await
    }

    pub(crate) async fn freeze(&self) -> Result<(), TestkitError> {
        Ok(self.handle.pause().await?)
    }

    pub(crate) async fn thaw(&self) -> Result<(), TestkitError> {
        Ok(self.handle.unpause().await?)
    }

    async fn end(&self, grace_seconds: i32) -> Result<(), TestkitError> {
        // A paused container cannot be stopped, and one that runs cannot be unpaused.
        let _ = self.handle.unpause().await;
        Ok(self.handle.stop_with_timeout(Some(grace_seconds)).await?)
    }

    /// The status with which the server ended, if it has.
    pub(crate) async fn exit_status(&self) -> Result<Option<String>, TestkitError> {
        if self.handle.is_running().await? {
            return Ok(None);
        }
        let code = self.handle.exit_code().await?;
        Ok(Some(code.map_or_else(
            || String::from("unknown"),
            |code| code.to_string(),
        )))
    }

    pub(crate) async fn log(&self) -> String {
        let mut log = self.handle.stdout_to_vec().await.unwrap_or_default();
        log.extend(self.handle.stderr_to_vec().await.unwrap_or_default());
        String::from_utf8_lossy(&log).into_owned()
    }
}

//! The local Docker engine, and a server in one of its containers.

use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use uuid::Uuid;

use crate::error::too_slow;
use crate::held_shell::HeldShell;
use crate::{Result, ports, programs};

/// A working engine answers a ping in milliseconds. A broken one must not delay more than this.
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// The limit for pulling an image and starting it.
const CREATE_DEADLINE: Duration = Duration::from_mins(3);

/// Waits for the pipe to close, then removes the container with its volumes.
const REMOVE: &str = r#"
trap '' HUP INT TERM
while read -r order; do :; done
DOCKER_HOST=$2 "$1" rm --force --volumes "$3"
"#;

/// An image with a server.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) name: &'static str,
    pub(crate) tag: &'static str,
    /// The server's port in the container.
    pub(crate) port: u16,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    pub(crate) command: Vec<String>,
}

/// A container, which is removed on drop, or when this process ends.
#[derive(Debug)]
pub(crate) struct Container {
    /// Never dropped, because its destructor needs a runtime, and the shell removes the container.
    _handle: ManuallyDrop<Box<ContainerAsync<GenericImage>>>,
    _remover: HeldShell,
}

impl Container {
    /// Starts a container whose port is published on the loopback address only, and returns it with
    /// that port. Returns none if there is no local engine.
    pub(crate) async fn start(image: Image) -> Result<Option<(Self, u16)>> {
        let Some((client, endpoint)) = programs::on_path("docker").zip(engine()) else {
            return Ok(None);
        };
        let id = Uuid::now_v7().simple();
        let name = format!("tasker-test-support-{}-{id}", image.name);
        // The remover comes first, so that a container is removed however far its start gets.
        let arguments = [client.into(), endpoint.into(), name.clone().into()];
        let remover = HeldShell::start(REMOVE, &arguments, &[], None)?;
        let port = ports::free()?;
        let mut request = GenericImage::new(image.name, image.tag)
            .with_wait_for(WaitFor::Nothing)
            .with_container_name(name)
            .with_mapped_port(port, image.port.tcp())
            .with_cmd(image.command)
            .with_host_config_modifier(|host| {
                let bindings = host.port_bindings.iter_mut();
                let bindings = bindings.flat_map(|map| map.values_mut());
                for binding in bindings.flatten().flatten() {
                    binding.host_ip = Some(String::from("127.0.0.1"));
                }
            });
        for (name, value) in image.environment {
            request = request.with_env_var(*name, *value);
        }
        let handle = tokio::time::timeout(CREATE_DEADLINE, request.start())
            .await
            .map_err(|_| too_slow(image.name, "start", CREATE_DEADLINE, ""))??;
        let container = Self {
            _handle: ManuallyDrop::new(Box::new(handle)),
            _remover: remover,
        };
        Ok(Some((container, port)))
    }
}

/// Returns the endpoint of the local engine that testcontainers will use, if it answers. Takes well
/// under a second if there is none.
fn engine() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(host) = variable("DOCKER_HOST") {
        let socket = host.strip_prefix("unix://")?;
        return matches!(ping(socket.into()), Ok(true)).then_some(host);
    }
    let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
    for (folder, socket) in [
        ("XDG_RUNTIME_DIR", ".docker/run/docker.sock"),
        ("HOME", ".docker/run/docker.sock"),
        ("HOME", ".docker/desktop/docker.sock"),
    ] {
        sockets.extend(variable(folder).map(|folder| PathBuf::from(folder).join(socket)));
    }
    // testcontainers takes the first socket that exists, answering or not.
    let socket = sockets.into_iter().find(|socket| socket.exists())?;
    let endpoint = format!("unix://{}", socket.display());
    matches!(ping(socket), Ok(true)).then_some(endpoint)
}

fn ping(socket: PathBuf) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PING_TIMEOUT))?;
    stream.set_write_timeout(Some(PING_TIMEOUT))?;
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
    let mut reply = [0; 12];
    stream.read_exact(&mut reply)?;
    Ok(reply.ends_with(b" 200"))
}

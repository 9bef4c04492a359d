//! Whether there is a Docker engine.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::programs;

/// An engine that works answers a ping in milliseconds; one that does not must not cost more.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// A Docker engine that answers.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// As in `DOCKER_HOST`.
    pub(crate) endpoint: String,
    /// The command line program, which removes containers after we are gone.
    pub(crate) client: PathBuf,
}

impl Engine {
    /// Looks where testcontainers will look. Takes well under a second where there is none.
    pub(crate) fn detect() -> Option<Self> {
        let client = programs::on_path("docker")?;
        endpoints()
            .into_iter()
            .find(|endpoint| matches!(ping(endpoint), Ok(true)))
            .map(|endpoint| Self { endpoint, client })
    }

    /// Whether containers can publish their ports on this machine's loopback address only.
    pub(crate) fn is_local(&self) -> bool {
        self.endpoint.starts_with("unix://")
    }
}

fn endpoints() -> Vec<String> {
    if let Some(host) = std::env::var("DOCKER_HOST")
        .ok()
        .filter(|host| !host.is_empty())
    {
        return vec![host];
    }
    let mut sockets = vec![String::from("/var/run/docker.sock")];
    for (folder, socket) in [
        ("XDG_RUNTIME_DIR", ".docker/run/docker.sock"),
        ("HOME", ".docker/run/docker.sock"),
        ("HOME", ".docker/desktop/docker.sock"),
    ] {
        sockets.extend(std::env::var(folder).map(|folder| format!("{folder}/{socket}")));
    }
    // testcontainers takes the first socket that exists, answering or not.
    sockets.retain(|socket| std::fs::exists(socket).is_ok_and(|exists| exists));
    sockets
        .into_iter()
        .take(1)
        .map(|socket| format!("unix://{socket}"))
        .collect()
}

fn ping(endpoint: &str) -> io::Result<bool> {
    if let Some(path) = endpoint.strip_prefix("unix://") {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PING_TIMEOUT))?;
        stream.set_write_timeout(Some(PING_TIMEOUT))?;
        return answers(stream);
    }
    let Some(address) = endpoint.strip_prefix("tcp://") else {
        return Ok(false);
    };
    let Some(address) = address.to_socket_addrs()?.next() else {
        return Ok(false);
    };
    let stream = TcpStream::connect_timeout(&address, PING_TIMEOUT)?;
    stream.set_read_timeout(Some(PING_TIMEOUT))?;
    stream.set_write_timeout(Some(PING_TIMEOUT))?;
    answers(stream)
}

fn answers(mut stream: impl Read + Write) -> io::Result<bool> {
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
    let mut reply = [0; 12];
    stream.read_exact(&mut reply)?;
    Ok(reply.ends_with(b" 200"))
}

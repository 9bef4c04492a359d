//! Free ports for servers that cannot choose one themselves, and requests to them.

use std::net::{Ipv4Addr, TcpListener};

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Exited, Failure, Result};

/// Below the ports of outgoing connections on Linux and macOS, because a client must not take the
/// port of a server that is killed and restarted.
const RANGE: std::ops::Range<u16> = 18_000..32_000;

/// The number of ports that are tried for a server.
const START_ATTEMPTS: usize = 5;

/// Returns a port that was free on the loopback address a moment ago. Another process may take it
/// before the server does, so callers try again with another one.
pub fn free() -> Result<u16> {
    let mut random = rand::rng();
    (0..100)
        .map(|_| random.random_range(RANGE))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| "no free port on 127.0.0.1".into())
}

/// Starts a server on a free port, and again on another one if a process took that first.
pub(crate) async fn start_on<S>(start: impl AsyncFn(u16) -> Result<S>) -> Result<S> {
    for _ in 1..START_ATTEMPTS {
        match start(free()?).await {
            Err(error) if lost_its_port(&error) => {}
            outcome => return outcome,
        }
    }
    start(free()?).await
}

/// Sends a request to a server on this port, and returns the first bytes of its answer.
pub(crate) async fn ask(port: u16, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 16];
    let read = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

fn lost_its_port(error: &Failure) -> bool {
    let exited = error.downcast_ref::<Exited>();
    exited.is_some_and(|exited| exited.log.contains("bind"))
}

//! Free ports for servers that cannot choose one themselves.

use std::net::{Ipv4Addr, TcpListener};

use rand::RngExt;

use crate::TestkitError;

/// Below the ports of outgoing connections on Linux and macOS, because a client must not take the
/// port of a server that is killed and restarted.
const RANGE: std::ops::Range<u16> = 18_000..32_000;

/// Returns a port that was free on the loopback address a moment ago. Another process may take it
/// before the server does, so callers try again with another one.
pub fn free() -> Result<u16, TestkitError> {
    let mut random = rand::rng();
    (0..100)
        .map(|_| random.random_range(RANGE))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(TestkitError::NoFreePort)
}

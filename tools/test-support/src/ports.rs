//! Free ports for servers that cannot choose one themselves.

use std::net::{Ipv4Addr, TcpListener};

use rand::RngExt;

use crate::TestkitError;

/// Below the range from which Linux and macOS take the ports of outgoing connections: a server
/// that is killed and restarted on its port must not find it taken by a client.
const RANGE: std::ops::Range<u16> = 18_000..32_000;

/// A port that was free on the loopback address a moment ago. Somebody else may take it before
/// the server does, so its users try again with another.
pub fn free() -> Result<u16, TestkitError> {
    let mut random = rand::rng();
    (0..100)
        .map(|_| random.random_range(RANGE))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(TestkitError::NoFreePort)
}

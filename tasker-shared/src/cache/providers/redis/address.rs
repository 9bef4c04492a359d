//! Where a server listens.

use std::fmt;

use crate::config::redis_checks::host_and_port;

/// Host and port of a server, as a configuration or another server names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// The address that `text` writes as `host:port` or `[host]:port`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        host_and_port(text).map(|(host, port)| Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

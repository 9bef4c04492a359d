//! Errors of the cache.
//!
//! No error keeps more of a server's text than its error code, because servers quote the arguments
//! of unknown commands, which can be passwords, keys and values. For the same reason the client
//! library's errors are translated.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use super::tls_fault::{TlsFault, TlsFile};
use crate::config::RedisProblem;
pub(crate) use crate::error_chain::Chain;

/// An operation of the cache failed.
///
/// No such error may fail a request: it is a miss for a reader and a lost write for a writer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// There is no connection to use, or the one that was used broke.
    #[error("the cache cannot be reached")]
    ConnectionError(#[source] ConnectionFault),
    /// The answer is not a usable value.
    #[error("the cached value cannot be used")]
    SerializationError(#[source] BadAnswer),
    /// The limit of the operation passed.
    #[error("the cache did not answer within {limit:?}")]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The backend answered with an error.
    #[error("the cache refused the operation")]
    BackendError(#[source] Refusal),
}

impl CacheError {
    /// Returns a label for metrics: `rejected` (the breaker is open), `connection`, `bad_answer`,
    /// `timeout` or `backend`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConnectionError(ConnectionFault::BreakerOpen) => "rejected",
            Self::ConnectionError(_) => "connection",
            Self::SerializationError(_) => "bad_answer",
            Self::Timeout { .. } => "timeout",
            Self::BackendError(_) => "backend",
        }
    }
}

/// The fault of a connection.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionFault {
    /// The breaker is open: nothing was sent.
    #[error("the breaker is open until the cache is well again")]
    BreakerOpen,
    /// No connection is up at this moment: nothing was sent.
    #[error("no connection is up")]
    NoneUp,
    /// The provider has been shut down.
    #[error("the cache has been shut down")]
    ShutDown,
    /// Connecting took longer than `connection_timeout_seconds`.
    #[error("connecting took longer than {limit:?}")]
    ConnectTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The network, the socket or TLS failed.
    #[error("{source}")]
    Transport {
        /// The error of the operating system or of the TLS library.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The server did not accept user and password.
    #[error("the server does not accept the configured user and password")]
    Authentication,
    /// The server refused the connection's first commands.
    #[error("the server refused the new connection")]
    Refused(#[source] Refusal),
    /// The server sent something else than the protocol.
    #[error("the server does not answer in the Redis protocol")]
    Protocol,
    /// A file that the connection needs cannot be used. It is read again for the next attempt.
    #[error(transparent)]
    TlsFile(#[from] TlsFault),
    /// One node of several failed.
    #[error("the node {address}")]
    Node {
        /// Its host and port.
        address: String,
        /// The fault of its connection.
        #[source]
        fault: Box<ConnectionFault>,
    },
    /// No sentinel names a server that confirms that it is the primary.
    #[error("the sentinels know no running primary by the name in `redis.sentinel_master_name`")]
    UnknownPrimary,
    /// None of the configured servers is a sentinel.
    #[error("the servers in `redis.url` and `redis.nodes` are not sentinels")]
    NoSentinel,
    /// A part of the cluster cannot be reached.
    #[error("slots of the cluster have no primary that can be reached")]
    SlotsWithoutPrimary,
    /// The client library refused the settings.
    #[error("the client library does not support these settings")]
    Unsupported,
}

#[cfg(feature = "cache-redis")]
impl ConnectionFault {
    /// Names the node that has this fault. A file of ours is not the fault of a node.
    pub(in crate::cache) fn at(self, node: &impl fmt::Display) -> Self {
        match self {
            Self::TlsFile(_) | Self::Node { .. } => self,
            fault => Self::Node {
                address: node.to_string(),
                fault: Box::new(fault),
            },
        }
    }
}

impl From<io::Error> for ConnectionFault {
    fn from(source: io::Error) -> Self {
        Self::Transport {
            source: Arc::new(source),
        }
    }
}

/// The reason why an answer is not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum BadAnswer {
    /// The key holds another type than a string.
    #[error("the key holds another type than a string")]
    WrongType,
    /// The value is longer than [`MAX_VALUE_BYTES`](super::MAX_VALUE_BYTES).
    #[error("the value is too large ({bytes} bytes)")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The value is not UTF-8, or the answer does not fit the command.
    #[error("the answer is not text")]
    Garbage,
}

impl BadAnswer {
    /// Returns the label of the metric that counts bad answers.
    #[must_use]
    pub fn kind(self) -> &'static str {
        self.into()
    }
}

/// An error that the server answered. Only its code is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    code: String,
}

/// The scope of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The server can serve nobody now: it is loading, its cluster or primary is down, a script
    /// blocks it, or it wants a password.
    Unusable,
    /// The server is a replica: it answers reads and refuses writes.
    ReadOnly,
    /// The server accepts no writes now: its memory is full, or its disk or replicas are missing.
    WritesRefused,
    /// Only this key or this command is refused.
    Operation,
    /// Any other code.
    Other,
}

const KNOWN_CODES: [(&str, RefusalKind); 16] = [
    ("LOADING", RefusalKind::Unusable),
    ("CLUSTERDOWN", RefusalKind::Unusable),
    ("MASTERDOWN", RefusalKind::Unusable),
    ("BUSY", RefusalKind::Unusable),
    ("NOAUTH", RefusalKind::Unusable),
    ("WRONGPASS", RefusalKind::Unusable),
    ("READONLY", RefusalKind::ReadOnly),
    ("OOM", RefusalKind::WritesRefused),
    ("MISCONF", RefusalKind::WritesRefused),
    ("NOREPLICAS", RefusalKind::WritesRefused),
    ("WRONGTYPE", RefusalKind::Operation),
    ("NOPERM", RefusalKind::Operation),
    ("MOVED", RefusalKind::Operation),
    ("ASK", RefusalKind::Operation),
    ("TRYAGAIN", RefusalKind::Operation),
    ("CROSSSLOT", RefusalKind::Operation),
];

/// No server has a longer code. Longer text is not a code, and is not printed.
const MAX_CODE_LENGTH: usize = 24;

impl Refusal {
    /// Returns the refusal with this code, or with `ERR` if the text does not look like a code.
    #[must_use]
    pub fn new(code: &str) -> Self {
        let plausible = !code.is_empty()
            && code.len() <= MAX_CODE_LENGTH
            && code.bytes().all(|byte| byte.is_ascii_uppercase());
        Self {
            code: String::from(if plausible { code } else { "ERR" }),
        }
    }

    /// Returns the server's error code, such as `OOM`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns its scope.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        KNOWN_CODES
            .iter()
            .find(|(code, _)| *code == self.code)
            .map_or(RefusalKind::Other, |(_, kind)| *kind)
    }

    /// Returns whether the server refuses the command whatever its key is: the account lacks the
    /// right, or the server takes no writes.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.code == "NOPERM"
            || matches!(
                self.kind(),
                RefusalKind::ReadOnly | RefusalKind::WritesRefused
            )
    }

    /// Returns whether another node of a cluster has the key.
    #[must_use]
    pub fn is_redirection(&self) -> bool {
        matches!(self.code.as_str(), "MOVED" | "ASK")
    }

    /// Returns the label of the metric that counts refusals: the code if it is known, because the
    /// number of unknown ones is unbounded.
    #[must_use]
    pub fn label(&self) -> &'static str {
        KNOWN_CODES
            .iter()
            .find(|(code, _)| *code == self.code)
            .map_or("other", |(code, _)| code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.code)
    }
}

impl Error for Refusal {}

/// The configuration of the cache can never work. The text never repeats the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationFault {
    /// The program has no client for the backend.
    #[error("this program was built without the feature `cache-redis`")]
    CompiledOut,
    /// The backend is unknown.
    #[error("`backend` must be \"redis\"")]
    UnknownBackend,
    /// The client library does not understand the URL.
    #[error(
        "`redis.url` must look like redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH/TO/SOCKET"
    )]
    Url,
    /// A field of `redis` is wrong, by itself or together with others.
    #[error("`{path}` {0}", path = .0.path())]
    Redis(RedisProblem),
}

#[cfg(test)]
mod tests {
    use super::{Refusal, RefusalKind};

    #[test]
    fn text_that_is_no_code_is_not_kept() {
        assert_eq!(Refusal::new("unknown command `AUTH` hunter2").code(), "ERR");
        assert_eq!(Refusal::new("").code(), "ERR");
        assert_eq!(Refusal::new("LOADING").code(), "LOADING");
    }

    #[test]
    fn codes_have_a_scope() {
        assert_eq!(Refusal::new("LOADING").kind(), RefusalKind::Unusable);
        assert_eq!(Refusal::new("READONLY").kind(), RefusalKind::ReadOnly);
        assert_eq!(Refusal::new("OOM").kind(), RefusalKind::WritesRefused);
        assert_eq!(Refusal::new("WRONGTYPE").kind(), RefusalKind::Operation);
        assert_eq!(Refusal::new("ERR").kind(), RefusalKind::Other);
        assert_eq!(Refusal::new("MOVED").label(), "MOVED");
        assert_eq!(Refusal::new("INVENTED").label(), "other");
    }
}

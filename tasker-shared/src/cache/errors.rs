//! Errors of the cache layer.
//!
//! No error carries what a server wrote beyond its error code: servers quote the arguments of a
//! command that they do not know, and those can be passwords, keys and values. For the same
//! reason the client library's errors are translated and never kept.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::tls_fault::TlsFault;
use crate::config::RedisProblem;
pub(crate) use crate::error_chain::Chain;

/// Why the cache could not do what was asked.
///
/// None of these may fail a request: each is a miss for a reader and a lost write for a writer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// There is no connection to use, or the one that was used broke.
    #[error("the cache cannot be reached")]
    ConnectionError(#[source] ConnectionFault),
    /// A value, or an answer in its place, cannot be used as one.
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
    /// A label for metrics: `rejected` (the breaker is open), `connection`, `bad_answer`,
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

/// What is wrong with the connection.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionFault {
    /// The breaker is open: nothing was sent.
    #[error("it is not asked until it has been found well again")]
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
        /// What failed, in the words of the operating system or of the TLS library.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The server did not accept user and password.
    #[error("the server does not accept the configured user and password")]
    Authentication,
    /// The server refused the connection's first commands.
    #[error("the server refused the new connection")]
    Refused(#[source] Refusal),
    /// What the server sent is not the protocol.
    #[error("the server does not speak the protocol")]
    Protocol,
    /// A file that the connection needs cannot be used. It is read again for the next attempt.
    #[error(transparent)]
    TlsFile(#[from] TlsFault),
    /// One node of several failed.
    #[error("the node {address}")]
    Node {
        /// Its host and port.
        address: String,
        /// What is wrong with its connection.
        #[source]
        fault: Box<ConnectionFault>,
    },
    /// No sentinel knows the primary.
    #[error("the sentinels know no primary by the name in `redis.sentinel_master_name`")]
    UnknownPrimary,
    /// The server that a sentinel names is a replica.
    #[error("{address}, which a sentinel calls the primary, is a replica")]
    NotPrimary {
        /// Its host and port.
        address: String,
    },
    /// The cluster is not whole.
    #[error("slots of the cluster have no primary that can be reached")]
    SlotsWithoutPrimary,
    /// The client library refused the settings.
    #[error("the client library does not support these settings")]
    Unsupported,
}

impl From<io::Error> for ConnectionFault {
    fn from(source: io::Error) -> Self {
        Self::Transport {
            source: Arc::new(source),
        }
    }
}

/// Why an answer is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAnswer {
    /// The key holds something else than a string.
    #[error("the key holds another type than a string")]
    WrongType,
    /// The value is longer than [`super::MAX_VALUE_BYTES`].
    #[error("the value is too large ({bytes} bytes)")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The value is not UTF-8, or the answer has a shape that the command cannot have.
    #[error("the answer is not text")]
    Garbage,
}

impl BadAnswer {
    /// The label of the metric that counts bad answers.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::WrongType => "wrong_type",
            Self::TooLarge { .. } => "too_large",
            Self::Garbage => "garbage",
        }
    }
}

/// An error that the server answered, by its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    code: String,
}

/// What a refusal says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// It cannot serve anybody now: it is loading, its cluster or primary is down, a script
    /// blocks it, or it wants a password.
    Unusable,
    /// It is a replica: reads are answered, writes are not.
    ReadOnly,
    /// It accepts no writes now: memory is full, or its disk or replicas are missing.
    WritesRefused,
    /// The key or the command is the matter, not the server.
    Operation,
    /// A code that says none of this.
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

/// Longer codes are cut: no server has one, and text of unknown origin is not printed.
const MAX_CODE_LENGTH: usize = 24;

impl Refusal {
    /// The refusal with this code. What does not look like a code becomes `ERR`.
    #[must_use]
    pub fn new(code: &str) -> Self {
        let plausible = !code.is_empty()
            && code.len() <= MAX_CODE_LENGTH
            && code.bytes().all(|byte| byte.is_ascii_uppercase());
        Self {
            code: String::from(if plausible { code } else { "ERR" }),
        }
    }

    /// The server's error code, such as `OOM`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What it says about the server.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        KNOWN_CODES
            .iter()
            .find(|(code, _)| *code == self.code)
            .map_or(RefusalKind::Other, |(_, kind)| *kind)
    }

    /// Whether another node of a cluster has what was asked for.
    #[must_use]
    pub fn is_redirection(&self) -> bool {
        matches!(self.code.as_str(), "MOVED" | "ASK")
    }

    /// The label of the metric that counts refusals: the code if it is known, since servers could
    /// make up any number of others.
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

/// Why a backend could not be put to use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The program has no client for the backend.
    #[error("this program was built without the feature `cache-redis`")]
    CompiledOut,
    /// The configuration can never work. Correct it and start again.
    #[error("the configuration of the cache is wrong")]
    Configuration(#[source] ConfigurationFault),
    /// The backend cannot be used now.
    #[error("the cache cannot be used now")]
    Unusable(#[from] CacheError),
}

impl StartError {
    /// Whether trying again cannot help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::CompiledOut | Self::Configuration(_) => true,
            Self::Unusable(_) => false,
        }
    }
}

/// What is wrong with the configuration of the cache. It never repeats the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationFault {
    /// `backend` names nothing that exists.
    #[error("`backend` must be \"redis\"")]
    UnknownBackend,
    /// The client library does not understand the URL.
    #[error(
        "`redis.url` must look like redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH/TO/SOCKET"
    )]
    Url,
    /// The fields of `redis` make no sense, by themselves or together.
    #[error("`{path}` {0}", path = .0.path())]
    Redis(RedisProblem),
}

#[cfg(test)]
mod tests {
    use super::{Refusal, RefusalKind};

    #[test]
    fn text_that_a_server_sent_is_not_kept_as_a_code() {
        assert_eq!(Refusal::new("unknown command `AUTH` hunter2").code(), "ERR");
        assert_eq!(Refusal::new("").code(), "ERR");
        assert_eq!(Refusal::new("LOADING").code(), "LOADING");
    }

    #[test]
    fn refusals_tell_the_server_from_the_key() {
        assert_eq!(Refusal::new("LOADING").kind(), RefusalKind::Unusable);
        assert_eq!(Refusal::new("READONLY").kind(), RefusalKind::ReadOnly);
        assert_eq!(Refusal::new("OOM").kind(), RefusalKind::WritesRefused);
        assert_eq!(Refusal::new("WRONGTYPE").kind(), RefusalKind::Operation);
        assert_eq!(Refusal::new("ERR").kind(), RefusalKind::Other);
        assert_eq!(Refusal::new("MOVED").label(), "MOVED");
        assert_eq!(Refusal::new("INVENTED").label(), "other");
    }
}

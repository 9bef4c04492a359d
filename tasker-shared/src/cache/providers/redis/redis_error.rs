//! Translates the client library's errors.
//!
//! Only texts of the operating system and of the TLS library are kept, because the library's own
//! texts can quote the server, and a server can quote passwords, keys and values that it was sent.

use std::sync::Arc;

use redis::{ErrorKind, RedisError};

use crate::cache::{CacheError, ConnectionFault, Refusal};

/// Translates an error that ended an operation.
pub(super) fn of_operation(error: RedisError) -> CacheError {
    match refusal(&error) {
        Some(refusal) => CacheError::BackendError(refusal),
        None => CacheError::ConnectionError(fault(error)),
    }
}

/// Translates an error that ended an attempt to connect.
pub(super) fn of_connecting(error: RedisError) -> ConnectionFault {
    match refusal(&error) {
        Some(refusal) => ConnectionFault::Refused(refusal),
        None => fault(error),
    }
}

fn refusal(error: &RedisError) -> Option<Refusal> {
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension => {
            Some(Refusal::new(error.code().unwrap_or_default()))
        }
        _ => None,
    }
}

fn fault(error: RedisError) -> ConnectionFault {
    match error.kind() {
        ErrorKind::AuthenticationFailed => ConnectionFault::Authentication,
        ErrorKind::InvalidClientConfig => ConnectionFault::Unsupported,
        // Errors of these kinds come from the system or the TLS library, if they have no detail.
        ErrorKind::Io | ErrorKind::Client if error.detail().is_none() => {
            ConnectionFault::Transport {
                source: Arc::new(error),
            }
        }
        _ => ConnectionFault::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use redis::{ErrorKind, RedisError};

    use super::{of_connecting, of_operation};
    use crate::cache::errors::Chain;
    use crate::cache::{CacheError, ConnectionFault};

    fn answered(line: &'static [u8]) -> RedisError {
        redis::parse_redis_value(line)
            .and_then(redis::Value::extract_error)
            .expect_err("an error line is an error")
    }

    #[test]
    fn text_that_a_server_quotes_is_not_repeated() {
        let quoting = || answered(b"-ERR unknown command `AUTH`, with args: `hunter2`\r\n");
        let connecting = CacheError::ConnectionError(of_connecting(quoting()));
        for error in [of_operation(quoting()), connecting] {
            assert!(!format!("{error:?} {}", Chain(&error)).contains("hunter2"));
        }
        for kind in [ErrorKind::AuthenticationFailed, ErrorKind::Io] {
            let detailed = RedisError::from((kind, "failed", String::from("hunter2")));
            let error = of_connecting(detailed);
            assert!(!format!("{error:?} {}", Chain(&error)).contains("hunter2"));
        }
    }

    #[test]
    fn the_systems_reason_is_kept() {
        let error = of_operation(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        assert!(matches!(
            error,
            CacheError::ConnectionError(ConnectionFault::Transport { .. })
        ));
        assert_eq!(
            Chain(&error).to_string(),
            "the cache cannot be reached: connection refused"
        );
    }

    #[test]
    fn a_servers_error_keeps_its_code() {
        let CacheError::BackendError(refusal) = of_operation(answered(b"-OOM no memory\r\n"))
        else {
            panic!("an answered error is the backend's");
        };
        assert_eq!(refusal.code(), "OOM");
    }
}

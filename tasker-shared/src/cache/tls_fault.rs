//! Faults of the files of a connection with TLS.

use std::fmt;
use std::io;
use std::sync::Arc;

/// A file of a connection with TLS cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// It cannot be read.
    #[error("`redis.{file}` cannot be read")]
    Unreadable {
        /// The file.
        file: TlsFile,
        /// The error of the operating system.
        #[source]
        source: Arc<io::Error>,
    },
    /// It holds no certificate or key.
    #[error("`redis.{0}` holds no {content} in PEM form", content = .0.content())]
    NotPem(TlsFile),
    /// The key belongs to another certificate.
    #[error("`redis.tls_key_file` is not the key of the certificate in `redis.tls_cert_file`")]
    OtherKey,
}

/// A file of a connection with TLS. Displays as its configuration key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// `tls_ca_file`
    Authorities,
    /// `tls_cert_file`
    Certificate,
    /// `tls_key_file`
    Key,
}

impl TlsFile {
    fn content(self) -> &'static str {
        match self {
            Self::Authorities | Self::Certificate => "certificate",
            Self::Key => "private key",
        }
    }
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authorities => "tls_ca_file",
            Self::Certificate => "tls_cert_file",
            Self::Key => "tls_key_file",
        })
    }
}

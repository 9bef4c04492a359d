//! The PEM files of a connection with TLS.
//!
//! They are read for each new connection, so that certificates can be renewed under a running
//! process. They are checked here, because the client library omits the file's name and some of the
//! checks.

use redis::{ClientTlsConfig, TlsCertificates};
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::cache::{TlsFault, TlsFile};
use crate::config::tasker::RedisConfig;

/// Returns the contents of the configured files; `None` if no file is configured.
pub(super) async fn read(config: &RedisConfig) -> Result<Option<TlsCertificates>, TlsFault> {
    let root_cert = read_file(&config.tls_ca_file, TlsFile::Authorities).await?;
    if let Some(pem) = &root_cert {
        check_authorities(pem)?;
    }
    let certificate = read_file(&config.tls_cert_file, TlsFile::Certificate).await?;
    let key = read_file(&config.tls_key_file, TlsFile::Key).await?;
    let client_tls = match (certificate, key) {
        (Some(client_cert), Some(client_key)) => {
            check_pair(&client_cert, &client_key)?;
            Some(ClientTlsConfig {
                client_cert,
                client_key,
            })
        }
        _ => None,
    };
    Ok(
        (root_cert.is_some() || client_tls.is_some()).then_some(TlsCertificates {
            client_tls,
            root_cert,
        }),
    )
}

async fn read_file(path: &str, file: TlsFile) -> Result<Option<Vec<u8>>, TlsFault> {
    if path.is_empty() {
        return Ok(None);
    }
    tokio::fs::read(path)
        .await
        .map(Some)
        .map_err(|source| TlsFault::Unreadable {
            file,
            source: source.into(),
        })
}

fn check_authorities(pem: &[u8]) -> Result<(), TlsFault> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem, TlsFile::Authorities)? {
        store
            .add(certificate)
            .map_err(|_| TlsFault::NotPem(TlsFile::Authorities))?;
    }
    Ok(())
}

fn check_pair(certificate: &[u8], key: &[u8]) -> Result<(), TlsFault> {
    let chain = certificates(certificate, TlsFile::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsFault::NotPem(TlsFile::Key))?;
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsFault::OtherKey),
        Err(rustls::Error::InvalidCertificate(_)) => Err(TlsFault::NotPem(TlsFile::Certificate)),
        Err(_) => Err(TlsFault::NotPem(TlsFile::Key)),
    }
}

/// Returns at least one certificate, because a file without any is a mistake.
fn certificates(pem: &[u8], file: TlsFile) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsFault::NotPem(file))?;
    if found.is_empty() {
        return Err(TlsFault::NotPem(file));
    }
    Ok(found)
}

//! Connections to handlers in other languages.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};
use tower::Service;

/// The longest that a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// The local addresses of open connections that had an answer, to know those that are used again. One
/// that was closed may be in it until its port is given to another.
#[derive(Debug, Clone, Default)]
pub(super) struct Answered(Arc<Mutex<HashSet<SocketAddr>>>);

impl Answered {
    fn lock(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, address: SocketAddr) {
        self.lock().insert(address);
    }

    /// Removes an address, and returns whether its connection had an answer.
    pub(super) fn remove(&self, address: &SocketAddr) -> bool {
        self.lock().remove(address)
    }
}

/// Returns what opens connections over HTTP and HTTPS, and takes them out of `answered`.
pub(super) fn connector(answered: Answered) -> HttpsConnector<Connector> {
    let mut inner = HttpConnector::new();
    inner.enforce_http(false);
    inner.set_connect_timeout(Some(CONNECT_TIME));
    trusting(authorities())
        .https_or_http()
        .enable_http1()
        .wrap_connector(Connector { inner, answered })
}

/// Opens connections that had no answer yet.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    inner: HttpConnector,
    answered: Answered,
}

impl Service<Uri> for Connector {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (opening, answered) = (self.inner.call(uri), self.answered.clone());
        Box::pin(async move {
            let stream = opening.await?;
            if let Ok(address) = stream.inner().local_addr() {
                answered.remove(&address);
            }
            Ok(stream)
        })
    }
}

/// Returns the authorities of the system, because companies have some of their own, or those that
/// `SSL_CERT_FILE` names.
fn authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "certificates of authorities for handlers cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Trusts the public authorities if there are no `roots`, as in an image without them.
fn trusting(roots: RootCertStore) -> HttpsConnectorBuilder<WantsSchemes> {
    const VERSIONS: &str = "the provider knows the default versions of TLS";
    // Named, because the program may have more than one, of which rustls chooses none.
    let provider = rustls::crypto::ring::default_provider();
    let builder = HttpsConnectorBuilder::new();
    if roots.is_empty() {
        return builder
            .with_provider_and_webpki_roots(provider)
            .expect(VERSIONS);
    }
    let tls = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect(VERSIONS)
        .with_root_certificates(roots)
        .with_no_client_auth();
    builder.with_tls_config(tls)
}

//! Requests over HTTP and TLS, with credentials for a proxy in front of a service.

use std::error::Error;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::percent_decode_str;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use tokio::time::timeout;
use url::Url;

use crate::error::CliError;

/// The variable with the bearer token. It is no option, because others see command lines.
const TOKEN: &str = "TASKER_TOKEN";

/// A client of one server.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    authorization: Option<HeaderValue>,
    limit: Duration,
}

/// Status, headers and body of an answer.
pub(crate) type Received = (StatusCode, HeaderMap, String);

impl Http {
    /// `limit` bounds each request with its answer.
    pub(crate) fn new(base: &Url, limit: Duration) -> Result<Self, CliError> {
        let mut roots = RootCertStore::empty();
        if base.scheme() == "https" {
            // Trusts the system's roots, because companies have authorities of their own. `SSL_CERT_FILE`
            // names others. Without any, the handshake fails and says so.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        // Named, because rustls chooses none if the program has several.
        let provider = rustls::crypto::ring::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            authorization: authorization(base)?,
            limit,
        })
    }

    /// Sends a request with a JSON body, if there is one. Follows no redirection.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        body: Option<&impl Serialize>,
    ) -> Result<Received, Box<dyn Error + Send + Sync>> {
        let mut target = url.clone();
        // The header has them. Neither call can fail for a URL with a host.
        let _ = target.set_username("");
        let _ = target.set_password(None);
        let mut request = Request::builder()
            .method(method)
            .uri(target.as_str())
            .header(USER_AGENT, concat!("tasker/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = match body {
            Some(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(serde_json::to_vec(body)?.into())?,
            None => request.body(Full::default())?,
        };
        let answered = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            Ok((head.status, head.headers, text))
        };
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        timeout(self.limit, answered).await.map_err(timed_out)?
    }
}

/// Returns the header for the token in the environment, or else for the user in the URL.
fn authorization(base: &Url) -> Result<Option<HeaderValue>, CliError> {
    let token = std::env::var(TOKEN).unwrap_or_default();
    let value = if !token.is_empty() {
        format!("Bearer {token}")
    } else if !base.username().is_empty() || base.password().is_some() {
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
        let user = decoded(base.username());
        let password = decoded(base.password().unwrap_or_default());
        format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{user}:{password}"))
        )
    } else {
        return Ok(None);
    };
    let mut value = HeaderValue::try_from(value).map_err(|_| CliError::BadToken)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

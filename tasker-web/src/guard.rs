//! Refuses requests that a browser was made to send: the services have no login yet.
//!
//! A page of another site can send requests to a service that the browser can reach. Two checks stop
//! it. `Host` must be an address or a known name, because a page that rebinds its own name to our
//! address (DNS rebinding) keeps that name in `Host`. Requests that change something must not come
//! from another origin, by `Sec-Fetch-Site` or `Origin`, which pages cannot forge.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, HeaderMap, ORIGIN};
use http::uri::Authority;
use http::{Method, Uri};
use tasker_shared::config::tasker::WebConfig;

use crate::problem::Problem;
use crate::problem_kinds as kinds;

/// The names under which a service may be called.
#[derive(Debug)]
pub(crate) struct Guard {
    names: Vec<String>,
    any: bool,
}

impl Guard {
    /// Allows the name in `bind_address` and `allowed_hosts`.
    pub(crate) fn new(web: &WebConfig) -> Arc<Self> {
        let bound = web.bind_address.rsplit_once(':').map(|(host, _)| host);
        let names = web.allowed_hosts.iter().map(String::as_str).chain(bound);
        Arc::new(Self {
            names: names.map(str::to_ascii_lowercase).collect(),
            any: web.allowed_hosts.iter().any(|host| host == "*"),
        })
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        // A request without `Host` does not come from a browser.
        let host = headers
            .get(HOST)
            .map(|host| host.to_str().unwrap_or_default())
            .or_else(|| uri.authority().map(Authority::as_str));
        if let Some(host) = host
            && !self.allows(host)
        {
            return Err(Problem::new(
                &kinds::HOST_NOT_ALLOWED,
                "The host of the request is not a name of this service. Add it to \
                 web.allowed_hosts in the service's configuration.",
            ));
        }
        if !method.is_safe() && is_cross_site(headers, host) {
            return Err(Problem::new(
                &kinds::CROSS_SITE_REQUEST,
                "A page of another site sent this request, and it would change something.",
            ));
        }
        Ok(())
    }

    /// Allows addresses and loopback, because only a name can be rebound.
    fn allows(&self, host: &str) -> bool {
        let name = name(host).to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        self.any
            || address.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || self.names.contains(&name)
    }
}

/// Returns `host` without its port.
fn name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
    .trim_end_matches('.')
}

/// Returns true if a browser sent the request for a page of another origin.
fn is_cross_site(headers: &HeaderMap, host: Option<&str>) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let authority = origin.to_str().ok().and_then(|origin| {
        let (_scheme, authority) = origin.split_once("://")?;
        Some(authority)
    });
    // `Origin: null` has no authority and is another origin.
    authority.is_none_or(|authority| host.is_none_or(|host| !host.eq_ignore_ascii_case(authority)))
}

/// Answers a request that [`Guard`] refuses, and one with a NUL character in its path or query,
/// because PostgreSQL cannot store it.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(problem) = guard.check(request.method(), request.uri(), request.headers()) {
        return problem.into_response();
    }
    let uri = request.uri();
    let has_nul = |text: &str| text.contains("%00");
    let nul_in = if has_nul(uri.path()) {
        Some((&kinds::INVALID_PATH_PARAMETER, "path"))
    } else if uri.query().is_some_and(has_nul) {
        Some((&kinds::INVALID_QUERY_PARAMETER, "query"))
    } else {
        None
    };
    match nul_in {
        Some((kind, part)) => Problem::new(
            kind,
            format!("The {part} must not contain the character U+0000."),
        )
        .into_response(),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
    use http::{HeaderValue, Method, Uri};
    use tasker_shared::config::tasker::WebConfig;

    use super::Guard;

    fn code(method: &Method, headers: &[(HeaderName, &'static str)]) -> Option<&'static str> {
        let web = WebConfig {
            bind_address: String::from("tasker.internal:8080"),
            allowed_hosts: vec![String::from("Tasker.example")],
            ..WebConfig::default()
        };
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        let checked = Guard::new(&web).check(method, &Uri::from_static("/v1/tasks"), &headers);
        checked.err().map(|problem| problem.kind().code)
    }

    #[test]
    fn a_rebound_name_is_refused_and_addresses_and_known_names_are_allowed() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "10.1.2.3",
            "tasker.internal:8080",
            "tasker.example:443",
            "tasker.example.",
        ] {
            assert_eq!(code(&Method::GET, &[(HOST, host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "",
        ] {
            let refused = code(&Method::GET, &[(HOST, host)]);
            assert_eq!(refused, Some("host_not_allowed"), "{host}");
        }
        assert_eq!(code(&Method::GET, &[]), None);
    }

    #[test]
    fn another_sites_page_changes_nothing_and_may_read_as_any_client() {
        let site = HeaderName::from_static("sec-fetch-site");
        let host = (HOST, "localhost:8080");
        let own = (ORIGIN, "http://localhost:8080");
        for (headers, refused) in [
            (vec![], false),
            (vec![own.clone()], false),
            (vec![(site.clone(), "same-origin")], false),
            (vec![(site.clone(), "none")], false),
            (vec![(ORIGIN, "https://evil.example")], true),
            (vec![(ORIGIN, "http://localhost:3000")], true),
            (vec![(ORIGIN, "null")], true),
            (vec![(site.clone(), "cross-site")], true),
            (vec![(site.clone(), "same-site"), own], true),
        ] {
            let mut all = vec![host.clone()];
            all.extend(headers);
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let expected = refused.then_some("cross_site_request");
                assert_eq!(code(&method, &all), expected, "{method} {all:?}");
            }
            assert_eq!(code(&Method::GET, &all), None, "{all:?}");
        }
    }
}

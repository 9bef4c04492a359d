//! A proxy with authentication and TLS in front of a service.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::common::{Outcome, outcome, program};
use crate::http::{read_request, response};

const TOKEN: &str = "s3cret.token";

fn queue(url: &str, variables: &[(&str, &str)]) -> Outcome {
    let mut command = program(Path::new("/"));
    command.args(["queue", "--url", url]);
    outcome(command.envs(variables.iter().copied()))
}

/// Serves one empty list. Returns the address, and the head of the request in lower case.
fn serve_plain() -> (String, JoinHandle<String>) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let serving = thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        let (head, _) = read_request(&mut connection);
        connection
            .write_all(response(200, "[]").as_bytes())
            .unwrap();
        head
    });
    (address, serving)
}

#[test]
fn a_token_passes_tls_to_a_server_that_is_trusted_and_to_no_other() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([String::from("127.0.0.1")]).unwrap();
    let folder = TempDir::new().unwrap();
    let authority = folder.path().join("authority.pem");
    fs::write(&authority, cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", server.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let config = Arc::new(config);
        let accept = || {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            StreamOwned::new(tls, server.accept().unwrap().0)
        };
        // The first client does not trust the certificate.
        let mut refused = accept();
        let error = refused.conn.complete_io(&mut refused.sock).unwrap_err();
        assert!(error.to_string().contains("UnknownCA"), "{error}");
        let mut connection = accept();
        let (head, _) = read_request(&mut connection);
        connection
            .write_all(response(200, "[]").as_bytes())
            .unwrap();
        connection.conn.send_close_notify();
        connection.conn.complete_io(&mut connection.sock).unwrap();
        head
    });

    let token = ("TASKER_TOKEN", TOKEN);
    let refused = queue(&url, &[token]);
    assert_eq!(refused.code, 69, "{refused:?}");
    assert!(refused.stderr.contains("UnknownIssuer"), "{refused:?}");
    let authority = ("SSL_CERT_FILE", authority.to_str().unwrap());
    let trusted = queue(&url, &[token, authority]);
    assert_eq!(trusted.code, 0, "{trusted:?}");
    let head = serving.join().unwrap();
    assert!(
        head.contains("authorization: bearer s3cret.token\r\n"),
        "{head}"
    );
}

#[test]
fn a_user_of_the_address_is_sent_unless_there_is_a_token() {
    for (token, expected) in [
        // ada:p@ss in Base64, in lower case.
        ("", "authorization: basic ywrhonbac3m=\r\n"),
        (TOKEN, "authorization: bearer s3cret.token\r\n"),
    ] {
        let (address, serving) = serve_plain();
        let url = format!("http://ada:p%40ss@{address}");
        let outcome = queue(&url, &[("TASKER_TOKEN", token)]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let head = serving.join().unwrap();
        assert!(head.contains(expected), "{head}");
        assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
    }
}

#[test]
fn a_token_is_not_shown() {
    for (token, code) in [(TOKEN, 69), ("s3cret\n", 64)] {
        let outcome = queue("http://127.0.0.1:1", &[("TASKER_TOKEN", token)]);
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(!outcome.stderr.contains("s3cret"), "{outcome:?}");
    }
    let mut help = program(Path::new("/"));
    let help = outcome(help.args(["queue", "--help"]).env("TASKER_TOKEN", TOKEN));
    assert!(!help.stdout.contains("s3cret"), "{help:?}");
}

//! TLS with a private authority, with and without client certificates.

use std::fs;

use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::RedisConfig;

use super::tls_files::{TlsFiles, TlsServer};
use super::{path, refusal, with, works};
use crate::cache::{SOON, eventually, provider};

fn trusting(server: &TlsServer, tls: &TlsFiles) -> RedisConfig {
    RedisConfig {
        url: server.url.clone(),
        tls_ca_file: path(tls.authority()),
        ..RedisConfig::default()
    }
}

fn with_certificate(server: &TlsServer, tls: &TlsFiles) -> RedisConfig {
    let [certificate, key] = tls.client();
    RedisConfig {
        tls_cert_file: path(certificate),
        tls_key_file: path(key),
        ..trusting(server, tls)
    }
}

async fn without_client_certificates(tls: &TlsFiles) -> TlsServer {
    tls.start(&["--tls-auth-clients", "no"]).await
}

#[tokio::test]
async fn a_configured_private_authority_is_trusted() {
    let tls = TlsFiles::create();
    let server = without_client_certificates(&tls).await;
    works(&provider(&with(trusting(&server, &tls))).await).await;
    let by_address = RedisConfig {
        url: server.url.replace("localhost", "127.0.0.1"),
        ..trusting(&server, &tls)
    };
    works(&provider(&with(by_address)).await).await;
}

#[tokio::test]
async fn a_server_whose_authority_is_not_trusted_is_not_used() {
    let tls = TlsFiles::create();
    let server = without_client_certificates(&tls).await;
    for authority in [String::new(), path(tls.other_authority())] {
        let reason = refusal(&with(RedisConfig {
            tls_ca_file: authority,
            ..trusting(&server, &tls)
        }))
        .await;
        assert!(reason.contains("invalid peer certificate"), "{reason}");
    }
}

#[tokio::test]
async fn a_server_whose_certificate_does_not_name_it_is_not_used() {
    let tls = TlsFiles::create();
    let addresses = ["--bind", "127.0.0.1", "127.0.0.2"];
    let arguments = [&["--tls-auth-clients", "no"], &addresses[..]].concat();
    let server = tls.start(&arguments).await;
    works(&provider(&with(trusting(&server, &tls))).await).await;
    let other_name = RedisConfig {
        url: server.url.replace("localhost", "127.0.0.2"),
        ..trusting(&server, &tls)
    };
    let reason = refusal(&with(other_name)).await;
    assert!(
        reason.contains("certificate not valid for name"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_wants_one() {
    let tls = TlsFiles::create();
    let server = tls.start(&[]).await;
    works(&provider(&with(with_certificate(&server, &tls))).await).await;
}

#[tokio::test]
async fn a_missing_client_certificate_is_reported() {
    let tls = TlsFiles::create();
    let server = tls.start(&[]).await;
    let reason = refusal(&with(trusting(&server, &tls))).await;
    assert!(reason.contains("CertificateRequired"), "{reason}");
}

#[tokio::test]
async fn a_plain_url_does_not_get_into_a_port_with_tls() {
    let tls = TlsFiles::create();
    let server = without_client_certificates(&tls).await;
    let reason = refusal(&with(RedisConfig {
        url: server.url.replace("rediss", "redis"),
        connection_timeout_seconds: 1,
        ..RedisConfig::default()
    }))
    .await;
    assert!(
        reason.starts_with("the cache cannot be reached"),
        "{reason}"
    );
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let tls = TlsFiles::create();
    let server = tls.start(&[]).await;
    let good = || with_certificate(&server, &tls);
    let [_, other_key] = tls.server();
    let garbage = path(tls.authority().with_file_name("garbage.pem"));
    fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nnone").expect("a file is written");
    for (config, reason) in [
        (
            RedisConfig {
                tls_ca_file: String::from("/nowhere.pem"),
                ..good()
            },
            "`redis.tls_ca_file` cannot be read: No such file",
        ),
        (
            RedisConfig {
                tls_ca_file: garbage.clone(),
                ..good()
            },
            "`redis.tls_ca_file` holds no certificate in PEM form",
        ),
        (
            RedisConfig {
                tls_cert_file: path(&other_key),
                ..good()
            },
            "`redis.tls_cert_file` holds no certificate in PEM form",
        ),
        (
            RedisConfig {
                tls_key_file: path(tls.authority()),
                ..good()
            },
            "`redis.tls_key_file` holds no private key in PEM form",
        ),
        (
            RedisConfig {
                tls_key_file: path(&other_key),
                ..good()
            },
            "`redis.tls_key_file` is not the key of the certificate in `redis.tls_cert_file`",
        ),
    ] {
        let found = refusal(&with(config)).await;
        assert!(found.contains(reason), "{reason} in {found}");
    }
}

#[tokio::test]
async fn a_corrected_file_is_used_without_a_restart() {
    let tls = TlsFiles::create();
    let server = without_client_certificates(&tls).await;
    let late = path(tls.authority().with_file_name("late.pem"));
    let cache = CacheProvider::from_config_graceful(&with(RedisConfig {
        tls_ca_file: late.clone(),
        ..trusting(&server, &tls)
    }))
    .await;
    assert!(!cache.is_enabled());
    fs::copy(tls.authority(), late).expect("a file is copied");
    eventually("the cache is in use", SOON, async || cache.is_enabled()).await;
    assert!(cache.health_check().await.expect("a ping"));
}

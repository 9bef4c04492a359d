//! Connecting to the primary that sentinels watch.
//!
//! Each new connection asks the sentinels anew, so a failover needs no more than that old
//! connections end. They do: sentinels make a server that becomes a replica close its connections,
//! and one that answers `READONLY` loses its connection here.

use redis::ConnectionAddr;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};

use super::endpoint::{Endpoint, settings};
use super::{redis_error, tls};
use crate::cache::ConnectionFault;

/// Connects to the primary that a sentinel names, once it has confirmed that it is one. Callers
/// bound it.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<MultiplexedConnection, ConnectionFault> {
    let mut client = client(endpoint).await?;
    client
        .get_async_connection_with_config(&settings())
        .await
        .map_err(|error| match redis_error::of_connecting(error) {
            // The library has no other reason to refuse these settings.
            ConnectionFault::Unsupported => ConnectionFault::NoSentinel,
            fault => fault,
        })
}

async fn client(endpoint: &Endpoint) -> Result<SentinelClient, ConnectionFault> {
    let config = &endpoint.config;
    let tcp = || TcpSettings::default().set_nodelay(true);
    let sentinels = endpoint.servers();
    let mut builder = SentinelClientBuilder::new(
        sentinels.iter().map(|sentinel| endpoint.at(sentinel)),
        &config.sentinel_master_name,
        SentinelServerType::Master,
    )
    .map_err(redis_error::of_connecting)?
    .set_client_to_sentinel_tcp_settings(tcp())
    .set_client_to_redis_tcp_settings(tcp())
    .set_client_to_redis_db(endpoint.info.redis_settings().db())
    .set_client_to_redis_protocol(endpoint.info.redis_settings().protocol());
    if let Some(user) = endpoint.info.redis_settings().username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = endpoint.info.redis_settings().password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if !config.sentinel_username.is_empty() {
        builder = builder.set_client_to_sentinel_username(&config.sentinel_username);
    }
    if !config.sentinel_password.is_empty() {
        builder = builder.set_client_to_sentinel_password(config.sentinel_password.expose());
    }
    if let ConnectionAddr::TcpTls { .. } = endpoint.info.addr() {
        builder = builder.set_client_to_redis_tls_mode(redis::TlsMode::Secure);
    }
    if let Some(certificates) = tls::read(config).await? {
        builder = builder
            .set_client_to_sentinel_certificates(certificates.clone())
            .set_client_to_redis_certificates(certificates);
    }
    builder.build().map_err(redis_error::of_connecting)
}

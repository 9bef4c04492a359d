//! Connecting to the primary that sentinels watch.
//!
//! Each new connection asks the sentinels anew, so a failover needs no more than that old
//! connections end. They do: sentinels make a server that becomes a replica close its connections,
//! and one that answers `READONLY` loses its connection here.
//!
//! The client library's own way sends `CLIENT SETINFO`, on which some proxies hang up.

use std::collections::HashMap;

use futures::FutureExt;
use futures::future::select_ok;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisConnectionInfo, Role, ServerErrorKind, cmd};

use super::endpoint::{Address, Endpoint, with_login};
use super::redis_error;
use crate::cache::ConnectionFault;

/// Connects to the primary that a sentinel names, once it has confirmed that it is one. Asks all
/// sentinels at once, because one that is lost does not answer. Callers bound it.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<MultiplexedConnection, ConnectionFault> {
    let sentinels = endpoint.servers();
    let attempts = sentinels
        .iter()
        .map(|sentinel| connect_by(endpoint, sentinel).boxed());
    let (connection, _others) = select_ok(attempts).await?;
    Ok(connection)
}

async fn connect_by(
    endpoint: &Endpoint,
    sentinel: &Address,
) -> Result<MultiplexedConnection, ConnectionFault> {
    let primary = ask(endpoint, sentinel).await?;
    let mut connection = endpoint.dial(Some(&primary)).await?;
    let role = cmd("ROLE").query_async(&mut connection).await;
    match role.map_err(redis_error::of_connecting)? {
        Role::Primary { .. } => Ok(connection),
        _ => Err(ConnectionFault::UnknownPrimary),
    }
}

/// Returns the running primary that `sentinel` knows.
async fn ask(endpoint: &Endpoint, sentinel: &Address) -> Result<Address, ConnectionFault> {
    let config = &endpoint.config;
    let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    let password = config.sentinel_password.expose();
    let settings = with_login(settings, &config.sentinel_username, password);
    let info = endpoint.info.clone().set_addr(endpoint.at(sentinel));
    let mut connection = endpoint
        .open(info.set_redis_settings(settings))
        .await
        .map_err(|fault| fault.at(sentinel))?;
    let known: Vec<HashMap<String, String>> = cmd("SENTINEL")
        .arg("MASTERS")
        .query_async(&mut connection)
        .await
        .map_err(|error| match error.kind() {
            // A server that is no sentinel does not know the command.
            ErrorKind::Server(ServerErrorKind::ResponseError) => ConnectionFault::NoSentinel,
            _ => redis_error::of_connecting(error).at(sentinel),
        })?;
    known
        .iter()
        .find_map(|primary| running(primary, &config.sentinel_master_name))
        .ok_or(ConnectionFault::UnknownPrimary)
}

/// Returns the address of a primary of this name that its sentinel does not take for lost.
fn running(primary: &HashMap<String, String>, name: &str) -> Option<Address> {
    let value = |field: &str| primary.get(field).map(String::as_str);
    let flags = value("flags")?;
    if value("name")? != name || !flags.contains("master") || flags.contains("_down") {
        return None;
    }
    Some(Address {
        host: value("ip")?.to_owned(),
        port: value("port")?.parse().ok()?,
    })
}

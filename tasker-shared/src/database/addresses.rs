//! Finds an address that answers, if the first one of a host name does not.
//!
//! The client library tries the addresses in turn and has no limit for each, so a first one that
//! swallows packets costs minutes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use sqlx::PgPool;
use sqlx::postgres::PgSslMode;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// The longest time that an address may take to accept a connection.
const LIMIT: Duration = Duration::from_secs(2);

/// Lets `pool` use the first address of its host that accepts connections. Returns whether that is
/// another one than the first; it is then used until the process ends.
///
/// Does nothing if certificates are compared with the name of the host.
pub(crate) async fn prefer_live(pool: &PgPool) -> bool {
    let options = pool.connect_options();
    let (host, port) = (options.get_host(), options.get_port());
    let is_name = options.get_socket().is_none() && host.parse::<IpAddr>().is_err();
    if !is_name || matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
        return false;
    }
    let Ok(addresses) = lookup_host((host, port)).await else {
        return false;
    };
    let addresses: Vec<SocketAddr> = addresses.collect();
    let Some(live) = first_live(&addresses, LIMIT).await else {
        return false;
    };
    if addresses.first() == Some(&live) {
        return false;
    }
    tracing::warn!(host, address = %live.ip(), "the first address of PostgreSQL's host does not answer; another one is used");
    pool.set_connect_options((*options).clone().host(&live.ip().to_string()));
    true
}

/// Returns the first of `addresses` that accepts a connection within `limit`.
async fn first_live(addresses: &[SocketAddr], limit: Duration) -> Option<SocketAddr> {
    let attempts = addresses.iter().map(|address| async move {
        let connected = timeout(limit, TcpStream::connect(address)).await;
        matches!(connected, Ok(Ok(_))).then_some(*address)
    });
    join_all(attempts).await.into_iter().flatten().next()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::timeout;

    use super::first_live;

    #[tokio::test]
    async fn an_address_that_swallows_packets_is_passed_over() {
        let limit = Duration::from_millis(300);
        // A listener whose queue is full: the kernel drops further attempts to connect.
        let full = TcpSocket::new_v4().expect("a socket");
        full.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let full = full.listen(1).expect("it listens");
        let dead = full.local_addr().expect("it is bound");
        let mut held = Vec::new();
        while let Ok(Ok(connection)) = timeout(limit, TcpStream::connect(dead)).await {
            held.push(connection);
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let live = listener.local_addr().expect("it is bound");
        assert_eq!(first_live(&[dead, live], limit).await, Some(live));
        assert_eq!(first_live(&[live, dead], limit).await, Some(live));
        assert_eq!(first_live(&[dead], limit).await, None);
    }
}

//! Finds an address that answers, if the first one of a host name does not.
//!
//! The client library tries the addresses in turn and has no limit for each, so a first one that
//! swallows packets costs minutes. It uses one that accepts connections and is silent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use sqlx::PgPool;
use sqlx::postgres::PgSslMode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{DatabaseCause, DatabaseError};

/// The longest time that an address may take to answer.
const LIMIT: Duration = Duration::from_secs(2);
/// The least time between two looks at the addresses.
const PAUSE: Duration = Duration::from_secs(1);

/// PostgreSQL's `SSLRequest`.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Wakes those who follow a host when a connection failed.
static FAILED: Notify = Notify::const_new();

/// Has the addresses looked at again, if `error` may be due to the one that is used.
pub(super) fn note(error: &DatabaseError) {
    if matches!(
        error.kind(),
        DatabaseCause::Refused
            | DatabaseCause::Unreachable
            | DatabaseCause::Late
            | DatabaseCause::Lost
            | DatabaseCause::PoolExhausted
            | DatabaseCause::ReadOnly
    ) {
        FAILED.notify_waiters();
    }
}

/// A host with a name.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    name: String,
    port: u16,
}

impl Host {
    /// Returns the host of `pool`. `None` if it is an address, or if certificates are compared with its
    /// name, which then has to stay.
    pub(crate) fn of(pool: &PgPool) -> Option<Self> {
        let options = pool.connect_options();
        let name = options.get_host();
        let is_name = options.get_socket().is_none() && name.parse::<IpAddr>().is_err();
        let may_change = is_name && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull);
        may_change.then(|| Self {
            name: name.to_owned(),
            port: options.get_port(),
        })
    }

    async fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = lookup_host((&*self.name, self.port)).await;
        addresses.map_or_else(|_unknown| Vec::new(), Iterator::collect)
    }

    /// Lets `pools` use the first address that answers. Returns whether that is another one
    /// than they used.
    pub(crate) async fn prefer_live(&self, pools: &[PgPool]) -> bool {
        self.prefer_live_of(&self.addresses().await, pools).await
    }

    async fn prefer_live_of(&self, addresses: &[SocketAddr], pools: &[PgPool]) -> bool {
        let Some(live) = first_live(addresses, LIMIT).await else {
            return false;
        };
        let is_first = addresses.first() == Some(&live);
        let host = if is_first {
            self.name.clone()
        } else {
            live.ip().to_string()
        };
        let mut has_changed = false;
        for pool in pools {
            let options = pool.connect_options();
            if options.get_host() != host {
                has_changed = true;
                pool.set_connect_options((*options).clone().host(&host));
            }
        }
        if has_changed && is_first {
            tracing::info!(
                host = self.name,
                "the first address of PostgreSQL's host answers again"
            );
        } else if has_changed {
            tracing::warn!(host = self.name, address = %live.ip(), "the first address of PostgreSQL's host does not answer; another one is used");
        }
        has_changed
    }

    /// Looks at the addresses whenever a connection has failed, for ever.
    pub(crate) async fn follow(self, pools: Vec<PgPool>) {
        let host = self.clone();
        let addresses = move || {
            let host = host.clone();
            async move { host.addresses().await }.boxed()
        };
        self.follow_of(addresses, pools).await;
    }

    async fn follow_of(
        &self,
        addresses: impl Fn() -> BoxFuture<'static, Vec<SocketAddr>> + Send,
        pools: Vec<PgPool>,
    ) {
        loop {
            FAILED.notified().await;
            self.prefer_live_of(&addresses().await, &pools).await;
            sleep(PAUSE).await;
        }
    }
}

/// Returns the first of `addresses` at which a server answers within `limit`.
async fn first_live(addresses: &[SocketAddr], limit: Duration) -> Option<SocketAddr> {
    let attempts = addresses.iter().copied().map(|address| async move {
        let answered = timeout(limit, ask(address)).await;
        matches!(answered, Ok(Ok(_))).then_some(address)
    });
    join_all(attempts).await.into_iter().flatten().next()
}

/// Asks if TLS can be used, because every server answers that before a login, and the kernel accepts
/// connections for one that is silent.
async fn ask(address: SocketAddr) -> io::Result<u8> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(&TLS_REQUEST).await?;
    connection.read_u8().await
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use futures::FutureExt;
    use sqlx::PgPool;
    use sqlx::postgres::PgConnectOptions;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::timeout;
    use tokio_util::task::AbortOnDropHandle;

    use super::{Host, first_live};
    use crate::database;

    const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A listener whose queue is full, with those who fill it: the kernel drops further attempts to connect.
    async fn silent(address: SocketAddr) -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(address).expect("a free port");
        let listener = socket.listen(1).expect("it listens");
        let address = listener.local_addr().expect("it is bound");
        let mut held = Vec::new();
        let limit = Duration::from_millis(300);
        while let Ok(Ok(connection)) = timeout(limit, TcpStream::connect(address)).await {
            held.push(connection);
        }
        (address, listener, held)
    }

    /// Refuses TLS to everybody, as the address of a server does, and then hangs up.
    async fn answering(address: SocketAddr) -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let answering = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                connection.write_all(b"N").await.ok();
            }
        });
        (address, AbortOnDropHandle::new(answering))
    }

    #[tokio::test]
    async fn an_address_that_accepts_connections_and_is_silent_is_passed_over() {
        let limit = Duration::from_millis(300);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let dead = listener.local_addr().expect("it is bound");
        let (live, _answering) = answering((SECOND, 0).into()).await;
        assert_eq!(first_live(&[dead, live], limit).await, Some(live));
        assert_eq!(first_live(&[dead], limit).await, None);
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_is_passed_over() {
        let limit = Duration::from_millis(300);
        let (dead, _listener, _held) = silent((SECOND, 0).into()).await;
        let (live, _answering) = answering((SECOND, 0).into()).await;
        assert_eq!(first_live(&[dead, live], limit).await, Some(live));
        assert_eq!(first_live(&[live, dead], limit).await, Some(live));
        assert_eq!(first_live(&[dead], limit).await, None);
    }

    /// Uses `pool`, in vain, until it connects to `host`.
    async fn until_at(pool: &PgPool, host: &str) {
        let limit = Duration::from_millis(200);
        let moved = async {
            while pool.connect_options().get_host() != host {
                let used = database::run_idempotent(pool, limit, |connection| {
                    Box::pin(database::check_primary(connection))
                });
                used.await.expect_err("nobody here is a PostgreSQL");
            }
        };
        timeout(PATIENCE, moved).await.expect("the pool moves");
    }

    #[tokio::test]
    async fn pools_move_to_the_address_that_answers_whenever_connections_fail() {
        let (dead, listener, held) = silent((FIRST, 0).into()).await;
        let addresses = [dead, (SECOND, dead.port()).into()];
        let (_, live) = answering(addresses[1]).await;
        let options = PgConnectOptions::new().host("db.test").port(dead.port());
        let pools = [(); 2].map(|()| PgPool::connect_lazy_with(options.clone()));
        let host = Host::of(&pools[0]).expect("it has a name");
        assert!(host.prefer_live_of(&addresses, &pools).await);
        assert!(!host.prefer_live_of(&addresses, &pools).await);
        assert_eq!(pools[1].connect_options().get_host(), "127.0.0.1");

        let followed = pools.to_vec();
        tokio::spawn(async move {
            let addresses = move || ready(addresses.to_vec()).boxed();
            host.follow_of(addresses, followed).await;
        });
        drop((live, listener, held));
        let _live = answering(addresses[0]).await;
        until_at(&pools[0], "db.test").await;
        assert_eq!(pools[1].connect_options().get_host(), "db.test");
    }
}

//! A TCP proxy that delays, holds back, refuses or cuts connections to a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use url::Url;

use crate::{Result, ports};

/// The treatment of bytes and of new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward { delay: Duration },
    Stall { percent: u8, delay: Duration },
    HalfOpen,
    CloseIdle { after: Duration },
    HangUpOn { text: &'static str },
    BlackHole,
    Refuse,
}

/// The wanted state.
#[derive(Debug, Clone)]
struct State {
    mode: Mode,
    target: Target,
    /// Connections made at an earlier number hang.
    hung: u64,
    /// Connections made at an earlier number are closed.
    cut: u64,
}

/// The effects of a state: whether the proxy listens, and the last cut whose connections are closed.
type Effects = (bool, u64);

/// A proxy on a loopback port. It forwards until its mode changes, and closes all connections on
/// drop.
///
/// It runs in the Tokio runtime that it was started in. Tasks may share it.
#[derive(Debug)]
pub struct TcpProxy {
    url: Url,
    port: u16,
    state: watch::Sender<State>,
    effects: watch::Receiver<Effects>,
    accepted: Arc<AtomicU64>,
    acceptor: JoinHandle<()>,
}

pub(crate) const NO_HOST: &str = "the server's URL names no host";

/// The host and the port of a server.
type Target = (String, u16);

fn target(url: &Url) -> Result<Target> {
    let host = url.host_str().ok_or(NO_HOST)?.to_owned();
    let usual = if url.scheme().starts_with("redis") {
        6379
    } else {
        5432
    };
    Ok((host, url.port().unwrap_or(usual)))
}

impl TcpProxy {
    /// Starts a proxy to the server of this URL. The default port is PostgreSQL's or Redis's, by
    /// the scheme.
    pub async fn before(url: &str) -> Result<Self> {
        let mut url = Url::parse(url)?;
        let mode = Mode::Forward {
            delay: Duration::ZERO,
        };
        let (state, states) = watch::channel(State {
            mode,
            target: target(&url)?,
            hung: 0,
            cut: 0,
        });
        let port = ports::free()?;
        let listener = listen(port).await?;
        url.set_host(Some("127.0.0.1"))?;
        url.set_port(Some(port)).map_err(|()| NO_HOST)?;
        let (sender, effects) = watch::channel((true, 0));
        let accepted = Arc::new(AtomicU64::new(0));
        let acceptor = Acceptor {
            port,
            states,
            effects: sender,
            accepted: Arc::clone(&accepted),
        };
        let acceptor = tokio::spawn(acceptor.run(listener));
        Ok(Self {
            url,
            port,
            state,
            effects,
            accepted,
            acceptor,
        })
    }

    /// Returns the server's URL through the proxy.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Returns the proxy's port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the number of connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Forwards everything at once, and delivers what half-open connections held back.
    pub async fn forward(&self) {
        self.set(Mode::Forward {
            delay: Duration::ZERO,
        })
        .await;
    }

    /// Delays every piece for this long, in both directions.
    pub async fn delay(&self, delay: Duration) {
        self.set(Mode::Forward { delay }).await;
    }

    /// Delays this percentage of pieces at random, as a network that loses packets and sends them
    /// again. Later pieces on the same connection wait behind them.
    pub async fn stall(&self, percent: u8, delay: Duration) {
        self.set(Mode::Stall { percent, delay }).await;
    }

    /// Leads new connections to the server of this URL. Existing connections stay where they are.
    pub fn redirect(&self, url: &str) -> Result {
        let target = target(&Url::parse(url)?)?;
        self.state.send_modify(|state| state.target = target);
        Ok(())
    }

    /// Forwards everything, and closes connections, made from now on, that are idle for so long.
    pub async fn close_idle(&self, after: Duration) {
        self.set(Mode::CloseIdle { after }).await;
    }

    /// Forwards everything but pieces with `text`, and closes connections on which one is sent.
    pub async fn hang_up_on(&self, text: &'static str) {
        self.set(Mode::HangUpOn { text }).await;
    }

    /// Keeps connections open, old and new, and forwards nothing.
    pub async fn half_open(&self) {
        self.set(Mode::HalfOpen).await;
    }

    /// Forwards nothing more on existing connections, which stay open until they are cut. New ones are
    /// served.
    pub fn hang(&self) {
        self.state.send_modify(|state| state.hung += 1);
    }

    /// Accepts new connections and never answers on them, in no later mode either. They stay open
    /// until their clients close them. Existing connections are not affected.
    pub async fn black_hole(&self) {
        self.set(Mode::BlackHole).await;
    }

    /// Refuses new connections. Existing connections are not affected.
    pub async fn refuse(&self) {
        self.set(Mode::Refuse).await;
    }

    /// Closes all existing connections, once. The mode stays.
    pub async fn cut(&self) {
        self.state.send_modify(|state| state.cut += 1);
        let wanted = self.state.borrow().cut;
        self.settled(|(_, cut)| *cut >= wanted).await;
    }

    async fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
        let wanted = mode != Mode::Refuse;
        self.settled(|(is_listening, _)| *is_listening == wanted)
            .await;
    }

    async fn settled(&self, reached: impl FnMut(&Effects) -> bool) {
        // The acceptor ends only with the runtime.
        let _ = self.effects.clone().wait_for(reached).await;
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        // The acceptor owns the tasks of its connections.
        self.acceptor.abort();
    }
}

struct Acceptor {
    port: u16,
    states: watch::Receiver<State>,
    effects: watch::Sender<Effects>,
    accepted: Arc<AtomicU64>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        let mut listener = Some(listener);
        let mut connections = JoinSet::new();
        let mut cut = 0;
        loop {
            let state = self.states.borrow_and_update().clone();
            if state.mode == Mode::Refuse {
                listener = None;
            } else if listener.is_none() {
                listener = listen(self.port).await.ok();
            }
            if cut < state.cut {
                connections.shutdown().await;
                cut = state.cut;
            }
            self.effects.send_replace((listener.is_some(), cut));
            tokio::select! {
                changed = self.states.changed() => if changed.is_err() { return },
                stream = accept(listener.as_ref()) => if let Some(stream) = stream {
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(serve(stream, self.states.clone()));
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn listen(port: u16) -> Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(TcpListener::bind(address).await?)
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Serves one connection, in both directions.
async fn serve(mut client: TcpStream, mut states: watch::Receiver<State>) {
    let made_at = states.borrow().clone();
    if made_at.mode == Mode::BlackHole {
        // Ends when the client closes the connection, or it is cut.
        let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
        return;
    }
    let Ok(server) = TcpStream::connect(made_at.target).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let (up, down) = (states.clone(), states.clone());
    let pumps = async {
        tokio::join!(
            pump(client_read, server_write, up),
            pump(server_read, client_write, down)
        )
    };
    // The streams stay open in the pumps.
    let mut pumps = std::pin::pin!(pumps);
    let hangs = async { states.wait_for(|it| it.hung > made_at.hung).await.is_ok() };
    tokio::select! {
        _ = &mut pumps => {}
        true = hangs => std::future::pending().await,
    }
}

/// Forwards one direction until its end, and the end too.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut states: watch::Receiver<State>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let limit = match states.borrow().mode {
            Mode::CloseIdle { after } => after,
            _ => Duration::MAX,
        };
        let Ok(read) = timeout(limit, from.read(&mut buffer)).await else {
            return;
        };
        let read = read.unwrap_or(0);
        let state = states.wait_for(|it| it.mode != Mode::HalfOpen).await;
        let Ok(mode) = state.map(|state| state.mode) else {
            return;
        };
        if let Mode::HangUpOn { text } = mode
            && buffer[..read]
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        {
            return;
        }
        let delay = match mode {
            Mode::Forward { delay } => delay,
            Mode::Stall { percent, delay } if rand::random_range(0..100) < percent => delay,
            _ => Duration::ZERO,
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

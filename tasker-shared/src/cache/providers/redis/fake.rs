//! A server of a unit test's own, on a loopback port, that answers what the test says.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connect::Endpoint;
use super::operation::Core;
use crate::config::tasker::RedisConfig;

/// What the server on this port answers to a command; nothing for `+OK`.
type Answers = dyn Fn(u16, &[String]) -> Option<String> + Send + Sync;

/// Stops when it is dropped. Connections that it has accepted end with the test.
pub(super) struct Fake {
    pub(super) port: u16,
    accepted: Arc<AtomicUsize>,
    acceptor: JoinHandle<()>,
}

impl Fake {
    pub(super) async fn start(
        answers: impl Fn(u16, &[String]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let answers: Arc<Answers> = Arc::new(answers);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        let acceptor = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, port, Arc::clone(&answers)));
            }
        });
        Self {
            port,
            accepted,
            acceptor,
        }
    }

    /// How many connections were ever accepted.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// What a provider shares that uses this server, with so many places for connections.
    pub(super) fn core(&self, mode: &str, places: usize) -> Core {
        let endpoint = Endpoint::from_config(&RedisConfig {
            url: format!("redis://127.0.0.1:{}", self.port),
            mode: mode.to_owned(),
            ..RedisConfig::default()
        })
        .expect("a valid configuration");
        Core::new(
            endpoint,
            places,
            Duration::from_secs(5),
            String::from("probe"),
            CancellationToken::new(),
        )
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// An answer to `CLUSTER SLOTS` that shares the slots out among loopback ports.
pub(super) fn slots(ports: &[u16]) -> String {
    let sorted: BTreeSet<u16> = ports.iter().copied().collect();
    let share = 16384 / sorted.len();
    let ranges = sorted.iter().enumerate().map(|(number, port)| {
        let first = number * share;
        let last = if number + 1 == sorted.len() {
            16383
        } else {
            first + share - 1
        };
        format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
    });
    format!("*{}\r\n{}", sorted.len(), ranges.collect::<String>())
}

async fn serve(stream: TcpStream, port: u16, answers: Arc<Answers>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut words = Vec::new();
        for _ in 0..number(&mut stream).await? {
            let mut word = vec![0; number(&mut stream).await?];
            stream.read_exact(&mut word).await?;
            stream.read_exact(&mut [0; 2]).await?;
            words.push(String::from_utf8_lossy(&word).into_owned());
        }
        let answer = answers(port, &words).unwrap_or_else(|| String::from("+OK\r\n"));
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// The number in a line such as `*3` or `$12`.
async fn number(stream: &mut BufReader<TcpStream>) -> io::Result<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    line.get(1..)
        .and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

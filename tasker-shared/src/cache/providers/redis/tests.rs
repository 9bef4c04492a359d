//! A server for unit tests, on a loopback port, whose answers the test chooses.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::RedisClient;
use super::connection::Connection;
use super::endpoint::Endpoint;
use crate::config::tasker::RedisConfig;

/// The answer to a command; `+OK` if it is `None`.
type Answers = dyn Fn(&[String]) -> Option<String> + Send + Sync;

/// Stops when it is dropped. Connections that it has accepted end with the test.
pub(super) struct Fake {
    port: u16,
    acceptor: JoinHandle<()>,
}

impl Fake {
    pub(super) async fn start(
        answers: impl Fn(&[String]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let answers: Arc<Answers> = Arc::new(answers);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let acceptor = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answers)));
            }
        });
        Self { port, acceptor }
    }

    /// Returns a client that is connected to this server.
    pub(super) async fn client(&self) -> RedisClient {
        let endpoint = Endpoint::from_config(&RedisConfig {
            url: format!("redis://127.0.0.1:{}", self.port),
            ..RedisConfig::default()
        })
        .expect("a valid configuration");
        let connection = Connection::to(&endpoint).await.expect("a connection");
        let budget = Duration::from_secs(5);
        let stop = CancellationToken::new();
        let client = RedisClient::new(endpoint, 1, budget, String::from("probe"), stop);
        client.put_to_use(connection);
        client
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn serve(stream: TcpStream, answers: Arc<Answers>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut words = Vec::new();
        for _ in 0..number(&mut stream).await? {
            let mut word = vec![0; number(&mut stream).await?];
            stream.read_exact(&mut word).await?;
            stream.read_exact(&mut [0; 2]).await?;
            words.push(String::from_utf8_lossy(&word).into_owned());
        }
        let answer = answers(&words).unwrap_or_else(|| String::from("+OK\r\n"));
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// Reads the number in a line such as `*3` or `$12`.
async fn number(stream: &mut BufReader<TcpStream>) -> io::Result<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    line.get(1..)
        .and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

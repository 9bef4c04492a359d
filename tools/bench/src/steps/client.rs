//! An HTTP client that costs little beside the services that it measures.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::error::{Result, expect};

/// A connection that is kept open.
pub(super) struct Client {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            address,
            stream: BufReader::new(stream),
        })
    }

    /// Sends a request, and returns the body of the answer. Fails if it is refused.
    pub(super) async fn send(&mut self, line: &str, body: &str) -> Result<Vec<u8>> {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        let (mut is_done, mut length) = (false, 0);
        let mut header = String::new();
        loop {
            header.clear();
            if self.stream.read_line(&mut header).await? == 0 {
                return Err("a connection was closed before the answer".into());
            }
            let line = header.trim_end();
            if line.is_empty() {
                break;
            }
            if line.starts_with("HTTP/1.1 ") {
                is_done = line.starts_with("HTTP/1.1 20");
            } else if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        if is_done {
            return Ok(body);
        }
        let answer = String::from_utf8_lossy(&body);
        Err(format!("a request was refused: {answer}").into())
    }

    /// Creates a task of `bench/{template}`, and waits for its end.
    pub(super) async fn run_task(&mut self, template: &str) -> Result {
        let body = format!(
            r#"{{"namespace": "bench", "name": "{template}", "version": "1.0.0", "context": {{"order": 7}}}}"#
        );
        let answer = self.send("POST /v1/tasks?wait=9s", &body).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let state = answer["status"].as_str();
        expect("state of a task", &Some("complete"), &state)
    }
}

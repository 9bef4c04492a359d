//! Connections that never become requests are closed, and the others are served to their end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use socket2::SockRef;
use tasker_shared::config::tasker::WebConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{MAX_HEAD, PROBE_AFTER, Reports, SILENCE, limit_silence, serve};
use crate::layers::serve_layers;
use crate::parts::tests::INFO;
use crate::start::Entrance;

/// Long enough for a busy machine, short enough for a test.
const HEADER_TIMEOUT: Duration = Duration::from_millis(500);
const SHORT_SILENCE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_millis(300)).await;
    "slow"
}

async fn start(web: WebConfig) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    limit_silence(&listener, SHORT_SILENCE).expect("the kernel has the options");
    let address = listener.local_addr().expect("it is bound");
    let entrance = Entrance::new(&INFO, &web);
    let routes = Router::new()
        .route("/fast", get(async || "fast"))
        .route("/slow", get(slow))
        .route("/large", get(async || vec![0_u8; 32 * 1024 * 1024]))
        .route("/echo", post(async |body: String| body));
    entrance.open(serve_layers(routes, &web));
    let stop = CancellationToken::new();
    let token = stop.clone();
    let ended = tokio::spawn(async move { serve(listener, entrance, &web, token).await });
    Server {
        address,
        stop,
        ended,
    }
}

fn config() -> WebConfig {
    WebConfig {
        header_timeout_ms: 500,
        ..WebConfig::default()
    }
}

/// Connects and sends `bytes`.
async fn send(server: &Server, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address)
        .await
        .expect("it accepts");
    stream
        .write_all(bytes.as_bytes())
        .await
        .expect("it is open");
    stream
}

/// Everything that the server sends until it closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset closes the connection, too.
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text));
    drop(read.await.expect("the server closes it"));
    String::from_utf8(text).expect("it is text")
}

/// Reads until an answer with this body is there.
async fn answer(stream: &mut TcpStream, body: &str) {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.ends_with(body) {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer));
        let count = read.await.expect("it answers").expect("it is open");
        assert_ne!(count, 0, "closed after {text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).expect("it is text"));
    }
}

#[tokio::test]
async fn no_request_and_half_a_request_are_closed_and_an_idle_connection_is_not() {
    let server = start(config()).await;
    let mut idle = send(&server, "GET /fast HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    answer(&mut idle, "fast").await;

    let started = Instant::now();
    let silent = send(&server, "").await;
    let half = send(&server, "GET /fast HTTP/1.1\r\nhost: local").await;
    assert_eq!(rest(silent).await, "");
    assert_eq!(rest(half).await, "");
    assert!(started.elapsed() >= HEADER_TIMEOUT);

    tokio::time::sleep(HEADER_TIMEOUT).await;
    let again = b"GET /fast HTTP/1.1\r\nhost: localhost\r\n\r\n";
    idle.write_all(again).await.expect("it is open");
    answer(&mut idle, "fast").await;
    // The second request of a connection has the same limit as its first.
    idle.write_all(b"GET /fast HT").await.expect("it is open");
    assert_eq!(rest(idle).await, "");
}

#[tokio::test]
async fn a_long_head_is_refused_and_a_long_body_is_not() {
    let server = start(config()).await;
    let head = |length: usize| {
        let begin = "GET /fast HTTP/1.1\r\nhost: localhost\r\nx: ";
        format!("{begin}{}", "y".repeat(length - begin.len()))
    };
    let mut stream = send(&server, &format!("{}\r\n\r\n", head(MAX_HEAD / 2))).await;
    answer(&mut stream, "fast").await;
    let answered = rest(send(&server, &head(MAX_HEAD)).await).await;
    assert!(answered.starts_with("HTTP/1.1 431"), "{answered}");
    let body = "z".repeat(10 * MAX_HEAD);
    let fields = format!(
        "host: localhost\r\nconnection: close\r\ncontent-length: {}",
        body.len()
    );
    let request = format!("POST /echo HTTP/1.1\r\n{fields}\r\n\r\n{body}");
    let answered = rest(send(&server, &request).await).await;
    assert!(answered.ends_with(&body));
}

#[tokio::test]
async fn draining_answers_whole_requests_and_closes_everything_else_at_once() {
    let server = start(WebConfig {
        header_timeout_ms: 600_000,
        ..WebConfig::default()
    })
    .await;
    let whole = send(&server, "GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let silent = send(&server, "").await;
    let half = send(&server, "GET /slow HT").await;
    let half_a_body = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nhalf";
    let half_a_body = send(&server, half_a_body).await;
    let mut idle = send(&server, "GET /fast HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    answer(&mut idle, "fast").await;

    server.stop.cancel();
    assert!(rest(whole).await.ends_with("slow"));
    for stream in [silent, half, half_a_body, idle] {
        assert_eq!(rest(stream).await, "");
    }
    let ended = tokio::time::timeout(PATIENCE, server.ended).await;
    ended.expect("nothing holds it").expect("it does not panic");
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let server = start(WebConfig {
        max_connections: 1,
        ..WebConfig::default()
    })
    .await;
    let mut first = send(&server, "GET /fast HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    answer(&mut first, "fast").await;
    let second = TcpStream::connect(server.address)
        .await
        .expect("the kernel accepts");
    assert_eq!(rest(second).await, "");
    drop(first);
    wait_for_a_place(&server).await;
}

/// Waits until the server has noticed that a connection is gone.
async fn wait_for_a_place(server: &Server) {
    let started = Instant::now();
    loop {
        let request = "GET /fast HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let mut stream = TcpStream::connect(server.address)
            .await
            .expect("it accepts");
        if stream.write_all(request.as_bytes()).await.is_ok()
            && rest(stream).await.ends_with("fast")
        {
            break;
        }
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test]
async fn a_client_that_never_reads_a_large_answer_loses_its_connection() {
    let server = start(WebConfig {
        max_connections: 1,
        ..WebConfig::default()
    })
    .await;
    let _unread = send(&server, "GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    wait_for_a_place(&server).await;
}

#[tokio::test]
async fn the_rest_of_a_refused_body_is_read_before_the_answer() {
    const BODY: usize = 16 * 1024 * 1024;
    let server = start(config()).await;
    for (path, status) in [("/echo", "413"), ("/nowhere", "404")] {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {BODY}\r\n\r\n");
        let mut stream = send(&server, &head).await;
        stream.write_all(&vec![b'x'; BODY]).await.expect("it reads");
        // The connection is as good as new.
        let next = b"GET /fast HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(next).await.expect("it is open");
        let answers = rest(stream).await;
        assert!(
            answers.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answers}"
        );
        assert!(answers.ends_with("fast"), "{answers}");
    }
}

#[tokio::test]
async fn a_client_that_waits_before_it_sends_a_body_gets_the_answer_at_once() {
    let server = start(config()).await;
    let head = "POST /nowhere HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                content-length: 9\r\n\r\n";
    let answer = rest(send(&server, head).await).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn idle_connections_are_probed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    limit_silence(&listener, SILENCE).expect("the kernel has the options");
    let address = listener.local_addr().expect("it is bound");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (_client, (stream, _)) = (client.expect("it connects"), accepted.expect("it accepts"));
    let socket = SockRef::from(&stream);
    assert!(socket.keepalive().expect("it is a socket"));
    assert_eq!(socket.tcp_keepalive_time().expect("on Linux"), PROBE_AFTER);
}

#[test]
fn a_lasting_failure_is_one_line() {
    let mut reports = Reports::default();
    assert_eq!(reports.due(), Some(0));
    for _ in 0..100 {
        assert_eq!(reports.due(), None);
    }
    assert_eq!(reports.hidden, 100);
}

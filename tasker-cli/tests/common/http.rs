//! A plain HTTP server of a test's own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

/// Reads a request with its body, so that the client is not cut off while it writes. Returns both.
pub(crate) fn read_request(connection: &mut impl Read) -> (String, String) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        request.extend(byte);
    }
    let head = String::from_utf8(request).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Returns an answer, after which the connection is closed.
pub(crate) fn response(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

/// Serves one answer to each request, and is gone after the last one. An empty answer hangs up.
/// Returns the address.
pub(crate) fn serve(answers: Vec<String>) -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = server.accept().unwrap();
            read_request(&mut connection);
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

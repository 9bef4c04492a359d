//! A plain HTTP server of a test's own.

use std::io::Read;
use std::net::TcpStream;

/// Reads a request with its body, so that the client is not cut off while it writes.
pub(crate) fn read_request(connection: &mut TcpStream) {
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
    connection.read_exact(&mut vec![0; length]).unwrap();
}

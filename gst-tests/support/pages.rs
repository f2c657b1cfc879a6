//! Asks for a page, as a browser does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::broadcast::PATIENCE;

/// The answer to a request: its status, its headers, and its body.
pub fn ask(at: SocketAddr, request: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("it speaks HTTP");
    let body = answer.split_off(head + 4);
    let head = String::from_utf8(answer).expect("a head is text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("it has a status"), head.to_ascii_lowercase(), body)
}

/// The answer to `GET`.
pub fn get(at: SocketAddr, path: &str) -> (u16, String, Vec<u8>) {
    ask(at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n"))
}

//! Callers that want everything and ask for nothing: they count how often they are let, and not, and hear what a
//! broadcast says of itself.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use bytes::Bytes;
use gstswarm::wire::extension::ExtensionHandshake;
use gstswarm::wire::handshake::{HANDSHAKE, Hello};
use gstswarm::wire::ids::{InfoHash, PeerId};
use gstswarm::wire::live::LiveState;
use gstswarm::wire::message::Message;

use super::line::encoded;
use super::stranger::connect;

/// The frames that they look for: their length, and their kind.
const CHOKE: [u8; 5] = [0, 0, 0, 1, 0];
const UNCHOKE: [u8; 5] = [0, 0, 0, 1, 1];
const EXTENDED: u8 = 20;

/// One of them.
pub struct Asker {
    stream: TcpStream,
    heard: Vec<u8>,
    /// How often it was choked, and let.
    pub chokes: usize,
    pub unchokes: usize,
    /// The stream headers' number that it was told last.
    pub headers: Option<u32>,
}

impl Asker {
    /// Calls from an address of its own.
    ///
    /// # Panics
    /// When nobody answers.
    pub fn call(from: IpAddr, to: SocketAddr, info_hash: InfoHash) -> Self {
        let mut id = *b"-XX0000-asker.......";
        let tail = from.to_string();
        id[13..].copy_from_slice(&format!("{tail:>7}").as_bytes()[tail.len().max(7) - 7..]);
        let mut stream = connect(from, to).expect("it can be called");
        let hello = Hello::ours(info_hash, PeerId(id)).encode();
        let words = [&hello[..], &encoded(&Message::HaveNone), &encoded(&Message::Interested)].concat();
        stream.write_all(&words).expect("it listens");
        stream.set_nonblocking(true).expect("a socket can be told not to wait");
        Self { stream, heard: Vec::new(), chokes: 0, unchokes: 0, headers: None }
    }

    /// Takes what was said until now.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn listen(&mut self) -> io::Result<()> {
        let mut some = [0; 4096];
        loop {
            match self.stream.read(&mut some) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.heard.extend_from_slice(&some[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        (self.chokes, self.unchokes) = (0, 0);
        let mut rest = self.heard.get(HANDSHAKE..).unwrap_or_default();
        while let Some((head, _)) = rest.split_first_chunk::<4>() {
            let Some(frame) = rest.get(..4 + u32::from_be_bytes(*head) as usize) else { break };
            self.chokes += usize::from(frame == CHOKE);
            self.unchokes += usize::from(frame == UNCHOKE);
            if let [_, _, _, _, EXTENDED, id, payload @ ..] = frame {
                self.headers = self.headers.max(headers_number(*id, payload));
            }
            rest = &rest[frame.len()..];
        }
        Ok(())
    }
}

/// The number of stream headers in an extension message.
fn headers_number(id: u8, payload: &[u8]) -> Option<u32> {
    let state = match id {
        0 => ExtensionHandshake::decode(payload).ok()?.live?,
        _ => LiveState::decode(&Bytes::copy_from_slice(payload)).ok()?,
    };
    state.headers_number
}

//! What strangers may do to us, as scripts, and whether that deserves a ban.

use std::io;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use gstswarm::wire::message::{Message, RawBlock};

use super::line::{Line, encoded};
use super::stranger::{Script, script};

/// What we owe the attacker.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// It broke the protocol or lied: its address is banned.
    Ban,
    /// It is useless or odd, which honest peers may be too: it must not be banned.
    Mercy,
    /// Which limit it meets first is a matter of timing: closed, or banned.
    Either,
}

/// One kind of attack.
pub struct Attack {
    /// What it is.
    pub name: &'static str,
    /// What follows.
    pub due: Due,
    /// What it does on each connection.
    pub script: Script,
}

/// Pause between the bytes of those who are slow on purpose.
const TRICKLE: Duration = Duration::from_millis(200);
/// Bits of a bitfield that no torrent in these tests needs.
const HUGE_BITFIELD: u32 = 900_000;
/// Ids of messages, for frames that our codec would not write.
mod id {
    pub const CHOKE: u8 = 0;
    pub const BITFIELD: u8 = 5;
    pub const REQUEST: u8 = 6;
    pub const PIECE: u8 = 7;
    pub const EXTENDED: u8 = 20;
}

/// All of them.
pub fn all() -> Vec<Attack> {
    [before_the_handshake(), bitfields(), numbers(), blocks(), extensions(), floods(), silence()]
        .into_iter()
        .flatten()
        .collect()
}

fn attack(
    name: &'static str,
    due: Due,
    act: impl Fn(&mut Line) -> io::Result<()> + Send + Sync + 'static,
) -> Attack {
    Attack { name, due, script: script(act) }
}

/// Says something after the handshake, then listens.
fn says(name: &'static str, due: Due, what: impl Fn(&Line) -> Bytes + Send + Sync + 'static) -> Attack {
    attack(name, due, move |line| {
        line.meet()?;
        let bytes = what(line);
        line.raw(&bytes)?;
        line.listen()
    })
}

/// Noise that is the same each time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn before_the_handshake() -> Vec<Attack> {
    let raw = |name, bytes: Vec<u8>| {
        attack(name, Due::Mercy, move |line| {
            line.raw(&bytes)?;
            line.listen()
        })
    };
    let http = format!("GET /announce?info_hash=x HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", "x".repeat(99));
    vec![
        raw("a garbage handshake", [b"\x13BitTorrent protocoL".as_slice(), &noise(300)].concat()),
        raw("plaintext HTTP", http.into_bytes()),
        raw("what an encrypted handshake looks like", noise(96 + 512)),
        attack("another torrent's handshake", Due::Mercy, |line| {
            let mut hello = line.hello();
            hello[30] ^= 1;
            line.raw(&hello)?;
            line.listen()
        }),
        attack("a handshake without end", Due::Mercy, |line| {
            let hello = line.hello();
            line.trickle(&hello, TRICKLE)
        }),
        attack("hanging up in the handshake", Due::Mercy, |line| {
            let hello = line.hello();
            line.raw(&hello[..50])
        }),
    ]
}

fn bitfields() -> Vec<Attack> {
    vec![
        attack("a bitfield of four gigabytes", Due::Ban, |line| {
            line.meet()?;
            line.frame(u32::MAX, id::BITFIELD, &noise(100_000))?;
            line.listen()
        }),
        attack("a bitfield larger than the torrent's", Due::Ban, |line| {
            line.meet()?;
            line.frame(HUGE_BITFIELD, id::BITFIELD, &noise(100_000))?;
            line.listen()
        }),
        attack("a bitfield that trickles", Due::Mercy, |line| {
            line.meet()?;
            let bitfield = Message::Bitfield(noise(30_000).into());
            line.trickle(&encoded(&bitfield), TRICKLE)
        }),
        says("a bitfield that is too short", Due::Ban, |_| encoded(&Message::Bitfield(Bytes::new()))),
        says("a bitfield with spare bits", Due::Ban, |line| {
            // The tests' films do not fill the last byte.
            let bytes = line.film.pieces().div_ceil(8) as usize;
            encoded(&Message::Bitfield(vec![0xff; bytes].into()))
        }),
        attack("one bitfield after another", Due::Mercy, |line| {
            line.meet()?;
            loop {
                line.send(&Message::HaveAll)?;
                line.send(&Message::HaveNone)?;
            }
        }),
    ]
}

fn block(index: u32, begin: u32, length: u32) -> RawBlock {
    RawBlock { index, begin, length }
}

/// Ranges that no torrent has.
fn absurd() -> [RawBlock; 5] {
    let max = u32::MAX;
    [block(max, 0, 1), block(0, max, max), block(0, 0, 0), block(0, max - 5, 16_384), block(0, 0, 1 << 30)]
}

fn numbers() -> Vec<Attack> {
    let with = |name, due, message: fn(RawBlock) -> Message| {
        says(name, due, move |_| absurd().map(|b| encoded(&message(b))).concat().into())
    };
    vec![
        says("having a piece that does not exist", Due::Ban, |line| {
            encoded(&Message::Have(line.film.pieces()))
        }),
        with("requests for absurd ranges", Due::Ban, Message::Request),
        with("cancels of absurd ranges", Due::Mercy, Message::Cancel),
        with("rejects of absurd ranges", Due::Ban, Message::Reject),
        says("rejects of what nobody asked for", Due::Mercy, |line| {
            let all = (1..line.film.pieces()).map(|n| encoded(&Message::Reject(block(n - 1, 0, 16_384))));
            all.collect::<Vec<_>>().concat().into()
        }),
        says("suggestions of what does not exist", Due::Mercy, |_| {
            encoded(&Message::Suggest(u32::MAX)).repeat(50).into()
        }),
        says("allowing what does not exist", Due::Mercy, |_| {
            encoded(&Message::AllowedFast(u32::MAX)).repeat(50).into()
        }),
        attack("a message of the wrong length", Due::Ban, |line| {
            line.meet()?;
            line.frame(5, id::CHOKE, &[0; 4])?;
            line.frame(5, id::REQUEST, &[0; 4])?;
            line.listen()
        }),
        says("messages that nobody knows", Due::Mercy, |_| {
            (30..=255).flat_map(|id| [0, 0, 0, 3, id, 1, 2]).collect::<Vec<u8>>().into()
        }),
    ]
}

fn blocks() -> Vec<Attack> {
    vec![
        attack("one wrong byte in each piece", Due::Ban, |line| {
            line.meet_as_seed()?;
            line.serve(None, |block, data| {
                if block.begin == 0 {
                    data[7] ^= 0x20;
                }
            })
        }),
        attack("nothing but wrong bytes", Due::Ban, |line| {
            line.meet_as_seed()?;
            line.serve(None, |_, data| data.fill(0x55))
        }),
        attack("wrong bytes, and leaving before they are looked at", Due::Ban, |line| {
            line.meet_as_seed()?;
            let index = line.until(|m| if let Message::Request(b) = m { Some(b.index) } else { None })?;
            let range = line.film.metainfo.geometry.piece(index).expect("we ask for what exists");
            let size = line.film.metainfo.geometry.piece_size(range);
            for begin in (0..size).step_by(16_384) {
                let data = vec![0xaa; (size - begin).min(16_384) as usize].into();
                line.send(&Message::Piece { index, begin, data })?;
            }
            Ok(())
        }),
        attack("blocks that nobody asked for", Due::Ban, |line| {
            line.meet()?;
            loop {
                let data = noise(16_384).into();
                line.send(&Message::Piece { index: 0, begin: 0, data })?;
            }
        }),
        attack("a block of no bytes", Due::Ban, |line| {
            line.meet_as_seed()?;
            line.frame(9, id::PIECE, &[0; 8])?;
            line.listen()
        }),
        attack("a block of 128 KiB", Due::Ban, |line| {
            line.meet_as_seed()?;
            line.frame(9 + (128 << 10), id::PIECE, &vec![0; 8 + (128 << 10)])?;
            line.listen()
        }),
        attack("a block of a megabyte", Due::Ban, |line| {
            line.meet_as_seed()?;
            line.frame(9 + (1 << 20), id::PIECE, &[0; 8])?;
            line.listen()
        }),
    ]
}

fn extensions() -> Vec<Attack> {
    let extended = |name, due, payload: Vec<u8>| {
        says(name, due, move |_| {
            encoded(&Message::Extended { id: 0, payload: payload.clone().into() }).repeat(20).into()
        })
    };
    vec![
        extended("an extension handshake of noise", Due::Mercy, noise(3_000)),
        extended(
            "an extension handshake with silly numbers",
            Due::Mercy,
            b"d4:reqqi0e1:pi-1e1:v0:e".to_vec(),
        ),
        extended("a deep extension handshake", Due::Mercy, [b"l".repeat(8_000), b"e".repeat(8_000)].concat()),
        attack("an extension handshake of 200,000 nested lists", Due::Ban, |line| {
            line.meet()?;
            let body = [vec![0], b"l".repeat(200_000), b"e".repeat(200_000)].concat();
            line.frame(400_002, id::EXTENDED, &body)?;
            line.listen()
        }),
    ]
}

fn floods() -> Vec<Attack> {
    vec![
        attack("a flood of keep-alives", Due::Mercy, |line| {
            line.meet()?;
            loop {
                line.raw(&[0; 4_096])?;
            }
        }),
        attack("a flood of haves", Due::Mercy, |line| {
            line.meet()?;
            let all: Vec<_> = (0..line.film.pieces()).map(|n| encoded(&Message::Have(n))).collect();
            let all = all.concat();
            loop {
                line.raw(&all)?;
            }
        }),
        attack("asking a little for what we lack", Due::Mercy, |line| {
            line.meet()?;
            for n in 0..100 {
                line.send(&Message::Request(block(n % (line.film.pieces() - 1), 0, 16_384)))?;
            }
            line.listen()
        }),
        attack("a flood of requests, never reading", Due::Ban, |line| {
            line.meet()?;
            line.send(&Message::Interested)?;
            loop {
                line.send(&Message::Request(block(0, 0, 16_384)))?;
            }
        }),
        attack("a flood of requests for single bytes", Due::Either, |line| {
            line.meet()?;
            line.send(&Message::Interested)?;
            for n in 0.. {
                line.send(&Message::Request(block(n % (line.film.pieces() - 1), n % 16_384, 1)))?;
            }
            Ok(())
        }),
        attack("choking and unchoking", Due::Mercy, |line| {
            line.meet()?;
            line.send(&Message::HaveAll)?;
            loop {
                line.send(&Message::Unchoke)?;
                line.send(&Message::Choke)?;
                thread::park_timeout(Duration::from_millis(1));
            }
        }),
        attack("being interested and not", Due::Mercy, |line| {
            line.meet()?;
            loop {
                line.send(&Message::Interested)?;
                line.send(&Message::NotInterested)?;
                thread::park_timeout(Duration::from_millis(1));
            }
        }),
    ]
}

fn silence() -> Vec<Attack> {
    let takes = |name, answer: fn(RawBlock) -> Option<Message>| {
        attack(name, Due::Mercy, move |line| {
            line.meet_as_seed()?;
            loop {
                if let Message::Request(block) = line.next()?
                    && let Some(answer) = answer(block)
                {
                    line.send(&answer)?;
                }
            }
        })
    };
    vec![
        attack("not a single byte", Due::Mercy, Line::ignore),
        attack("silence after the handshake", Due::Mercy, |line| {
            line.meet()?;
            line.listen()
        }),
        attack("silence, without reading", Due::Mercy, |line| {
            line.meet_as_seed()?;
            line.ignore()
        }),
        attack("a frame that never ends", Due::Mercy, |line| {
            line.meet_as_seed()?;
            let block = Message::Piece { index: 0, begin: 0, data: noise(16_384).into() };
            line.trickle(&encoded(&block), TRICKLE)
        }),
        takes("taking requests and never answering", |_| None),
        takes("rejecting all requests", |block| Some(Message::Reject(block))),
    ]
}

//! What strangers may do to those who watch a broadcast (and to its source), as scripts, and whether that deserves a
//! ban. They take real pieces and stamps out of the source's ring on disk, as anybody gets them by watching.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use gstswarm::metainfo::keys::SigningKey;
use gstswarm::metainfo::torrent::Metainfo;
use gstswarm::stream::live_headers::VerifiedHeaders;
use gstswarm::stream::live_piece::{CaptureTime, Draft, Flags, STAMP_LENGTH, Stamp, seal};
use gstswarm::wire::extension::ExtensionHandshake;
use gstswarm::wire::live::{LiveState, MAX_MESSAGE, NAME};
use gstswarm::wire::message::{Message, RawBlock};

use super::attacks::{Attack, Due, noise};
use super::line::{Line, encoded};
use super::stranger::{Script, script};

/// The number of the extension at both ends.
const ID: u8 = 1;
/// How often those that go along with the broadcast look for new pieces.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How the names of those begin who give wrong pieces when they are asked for any.
pub const GIVES: &str = "giving ";
/// A block.
const BLOCK: u32 = 16 * 1024;

/// The ring of a source, read from outside.
pub struct Ring {
    file: File,
    metainfo: Metainfo,
    newest: Mutex<Option<u32>>,
}

impl Ring {
    /// The ring beside a `.tstream`.
    pub fn open(tstream: &Path) -> Arc<Self> {
        let metainfo = std::fs::read(tstream).expect("the broadcast was made");
        let metainfo = Metainfo::parse(&metainfo).expect("it is one");
        let file = File::open(tstream.with_extension("")).expect("its ring lies beside it");
        Arc::new(Self { file, metainfo, newest: Mutex::default() })
    }

    /// Pieces in it.
    pub fn slots(&self) -> u32 {
        self.metainfo.geometry.pieces()
    }

    fn piece_length(&self) -> u32 {
        self.metainfo.geometry.piece_length()
    }

    /// Pieces of it that are kept.
    pub fn window(&self) -> u32 {
        self.metainfo.live.as_ref().expect("it is live").window
    }

    /// The stamp of a piece, if it is in the ring.
    pub fn stamp(&self, seq: u32) -> Option<[u8; STAMP_LENGTH]> {
        let mut bytes = [0; STAMP_LENGTH];
        let piece = u64::from(self.piece_length());
        let end = u64::from(seq % self.slots()) * piece + piece;
        self.file.read_exact_at(&mut bytes, end - STAMP_LENGTH as u64).ok()?;
        let stamp = Stamp::parse(&bytes, self.piece_length()).ok()?;
        (stamp.seq == seq).then_some(bytes)
    }

    /// When these pieces, which are in the ring, were captured.
    pub fn times(&self, run: Range<u32>) -> Vec<CaptureTime> {
        let stamp = |seq| Stamp::parse(&self.stamp(seq).expect("it is there"), self.piece_length());
        run.map(|seq| stamp(seq).expect("it was read before").time).collect()
    }

    /// A piece, if it is in the ring.
    pub fn piece(&self, seq: u32) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.piece_length() as usize];
        let at = u64::from(seq % self.slots()) * u64::from(self.piece_length());
        self.file.read_exact_at(&mut bytes, at).ok()?;
        self.stamp(seq).map(|_| bytes)
    }

    /// The newest piece, waited for.
    pub fn newest(&self, line: &Line) -> io::Result<u32> {
        while !line.tally.is_over() {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            if newest.is_none() {
                *newest = (0..self.slots()).rev().find(|seq| self.stamp(*seq).is_some());
            }
            while let Some(next) = newest.map(|n| n + 1).filter(|next| self.stamp(*next).is_some()) {
                *newest = Some(next);
            }
            if let Some(newest) = *newest {
                return Ok(newest);
            }
            drop(newest);
            thread::park_timeout(LOOK_EVERY);
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// The piece that a peer means by an index, seen from the newest.
    fn meant(&self, index: u32, newest: u32) -> u32 {
        let back = (newest % self.slots() + self.slots() - index % self.slots()) % self.slots();
        if back < self.slots() / 2 { newest.saturating_sub(back) } else { newest + self.slots() - back }
    }

    /// What a peer says that holds the whole window.
    fn state(&self, newest: u32) -> LiveState {
        let oldest = newest.saturating_sub(self.window() - 1);
        LiveState { stamp: self.stamp(newest), oldest: Some(oldest), ..LiveState::default() }
    }

    /// The window's pieces as a bitfield.
    fn bitfield(&self, newest: u32) -> Vec<u8> {
        let mut bits = vec![0; self.slots().div_ceil(8) as usize];
        for seq in newest.saturating_sub(self.window() - 1)..=newest {
            let slot = seq % self.slots();
            bits[slot as usize / 8] |= 0x80 >> (slot % 8);
        }
        bits
    }
}

/// The extension handshake of somebody who is there.
fn hello(state: Option<LiveState>) -> Message {
    let hello = ExtensionHandshake { live: state, ..ExtensionHandshake::default() }.announcing(NAME, ID);
    Message::Extended { id: 0, payload: hello.encode() }
}

fn tell(state: &LiveState) -> Message {
    Message::Extended { id: ID, payload: state.encode() }
}

/// Goes along with the broadcast as an honest viewer does, as far as words go; answers each request as it likes.
fn goes_along(
    line: &mut Line,
    ring: &Ring,
    answer: impl Fn(RawBlock, u32) -> Option<Message>,
) -> io::Result<()> {
    line.meet()?;
    let newest = ring.newest(line)?;
    line.send(&Message::Bitfield(ring.bitfield(newest).into()))?;
    line.send(&hello(Some(ring.state(newest))))?;
    line.send(&Message::Unchoke)?;
    line.send(&Message::Interested)?;
    let mut mouth = line.mouth()?;
    thread::scope(|scope| {
        scope.spawn(move || -> io::Result<()> {
            let mut told = newest;
            loop {
                let newest = ring.newest(&mouth)?;
                for seq in told + 1..=newest {
                    mouth.send(&Message::Have(seq % ring.slots()))?;
                }
                if newest > told {
                    mouth.send(&tell(&ring.state(newest)))?;
                }
                told = newest;
                thread::park_timeout(LOOK_EVERY);
            }
        });
        loop {
            if let Message::Request(block) = line.next()? {
                let newest = ring.newest(line)?;
                if let Some(answer) = answer(block, ring.meant(block.index, newest)) {
                    line.send(&answer)?;
                }
            }
        }
    })
}

/// A block of a piece's bytes, as if it were the one that was asked for.
fn block(asked: RawBlock, piece: &[u8]) -> Message {
    let data = piece[asked.begin as usize..][..asked.length as usize].to_vec();
    Message::Piece { index: asked.index, begin: asked.begin, data: data.into() }
}

/// Everything right.
pub fn honest(ring: &Arc<Ring>) -> Script {
    let ring = Arc::clone(ring);
    script(move |line| {
        goes_along(line, &ring, |asked, seq| ring.piece(seq).map(|piece| block(asked, &piece)))
    })
}

/// A broadcaster's key that is not the source's.
fn another_key() -> SigningKey {
    SigningKey::from_random(&[7; 32]).expect("it makes a key")
}

/// A stamp that somebody else signed for this swarm, of the piece behind the newest.
fn sealed_by_another(ring: &Ring, seq: u32, info_hash: bool) -> (Bytes, [u8; STAMP_LENGTH]) {
    let draft = Draft { flags: Flags::default(), rap: None, seq, time: CaptureTime(u64::from(seq)) };
    let mut hash = ring.metainfo.info_hash;
    hash.0[0] ^= u8::from(!info_hash);
    let (piece, stamp) = seal(draft, &[noise(1_000).into()], ring.piece_length(), hash, &another_key())
        .expect("a thousand bytes fit");
    (piece, stamp.encode())
}

/// All of them but those who [withhold] what they announce.
pub fn all(ring: &Arc<Ring>) -> Vec<Attack> {
    [pieces(ring), stamps(ring), messages(), promises(ring)].into_iter().flatten().collect()
}

fn attack(
    name: &'static str,
    due: Due,
    ring: &Arc<Ring>,
    act: impl Fn(&mut Line, &Ring) -> io::Result<()> + Send + Sync + 'static,
) -> Attack {
    let ring = Arc::clone(ring);
    Attack { name, due, script: script(move |line| act(line, &ring)) }
}

/// Pieces that are not what was asked for.
fn pieces(ring: &Arc<Ring>) -> Vec<Attack> {
    let gives = |name, piece: fn(&Ring, u32) -> Option<Vec<u8>>| {
        attack(name, Due::Ban, ring, move |line, ring| {
            goes_along(line, ring, |asked, seq| Some(block(asked, &piece(ring, seq)?)))
        })
    };
    vec![
        gives("giving a wrong byte in each payload", |ring, seq| {
            let mut piece = ring.piece(seq)?;
            piece[1_000] ^= 0x10;
            Some(piece)
        }),
        gives("giving a wrong byte in each stamp", |ring, seq| {
            let mut piece = ring.piece(seq)?;
            let last = piece.len() - 1;
            piece[last] ^= 1;
            Some(piece)
        }),
        gives("giving noise", |ring, _| Some(noise(ring.piece_length() as usize))),
        gives("giving the piece before the one that was asked for", |ring, seq| {
            ring.piece(seq.checked_sub(1)?)
        }),
        gives("giving the same piece each time", |ring, seq| {
            (seq.saturating_sub(ring.window() - 1)..seq).find_map(|old| ring.piece(old))
        }),
        gives("giving pieces that another has signed", |ring, seq| {
            Some(sealed_by_another(ring, seq, true).0.to_vec())
        }),
    ]
}

/// Stamps and headers that are not the source's.
fn stamps(ring: &Arc<Ring>) -> Vec<Attack> {
    let tells = |name, state: fn(&Ring, u32) -> LiveState| {
        attack(name, Due::Ban, ring, move |line, ring| {
            line.meet()?;
            let newest = ring.newest(line)?;
            line.send(&hello(None))?;
            line.send(&Message::Bitfield(ring.bitfield(newest).into()))?;
            line.send(&tell(&state(ring, newest)))?;
            line.listen()
        })
    };
    let in_the_handshake = attack("a forged stamp in the handshake", Due::Ban, ring, |line, ring| {
        line.meet()?;
        let mut state = ring.state(ring.newest(line)?);
        state.stamp.as_mut().expect("it was seen")[70] ^= 1;
        line.send(&hello(Some(state)))?;
        line.listen()
    });
    vec![
        in_the_handshake,
        tells("a stamp with a higher number", |ring, newest| {
            let mut state = ring.state(newest);
            state.stamp.as_mut().expect("it was seen")[22] ^= 0x40;
            state
        }),
        tells("a stamp of another time", |ring, newest| {
            let mut state = ring.state(newest);
            state.stamp.as_mut().expect("it was seen")[31] ^= 1;
            state
        }),
        tells("a stamp of another source", |ring, newest| LiveState {
            stamp: Some(sealed_by_another(ring, newest + 1, true).1),
            ..LiveState::default()
        }),
        tells("a stamp of another swarm", |ring, newest| LiveState {
            stamp: Some(sealed_by_another(ring, newest + 1, false).1),
            ..LiveState::default()
        }),
        tells("a stamp of noise", |_, _| LiveState {
            stamp: Some(noise(STAMP_LENGTH).try_into().expect("of that length")),
            ..LiveState::default()
        }),
        tells("headers of another source", |ring, newest| {
            let headers =
                VerifiedHeaders::seal(u32::MAX, noise(5_000).into(), ring.metainfo.info_hash, &another_key());
            let headers = headers.expect("they are short").encode();
            LiveState { headers_number: Some(u32::MAX), headers: Some(headers), ..ring.state(newest) }
        }),
    ]
}

/// Messages that are none.
fn messages() -> Vec<Attack> {
    let says = |name, due, bytes: Vec<u8>| Attack {
        name,
        due,
        script: script(move |line| {
            line.meet()?;
            line.send(&hello(None))?;
            line.raw(&bytes)?;
            line.listen()
        }),
    };
    let extended =
        |payload: Vec<u8>| encoded(&Message::Extended { id: ID, payload: payload.into() }).to_vec();
    vec![
        says("a message of noise", Due::Ban, extended(noise(2_000))),
        says("an empty message", Due::Ban, extended(Vec::new())),
        says("a message that says nothing", Due::Mercy, extended(b"de".to_vec()).repeat(1_000)),
        says("a message with a short stamp", Due::Ban, extended(b"d1:s5:shorte".to_vec())),
        says("a message with a huge number", Due::Ban, extended(b"d1:oi99999999999999999999ee".to_vec())),
        says("a message that is deep", Due::Ban, extended([b"l".repeat(5_000), b"e".repeat(5_000)].concat())),
        says("a message that is a byte too long", Due::Ban, extended(vec![b'x'; MAX_MESSAGE + 1])),
        says("a message of a megabyte", Due::Ban, extended(vec![b'x'; 1 << 20])),
        says("headers that are too short", Due::Ban, extended(b"d1:h3:abce".to_vec())),
        says("having a piece outside of the ring", Due::Ban, encoded(&Message::Have(u32::MAX)).to_vec()),
    ]
}

/// Those who announce what they do not give.
pub fn withhold(ring: &Arc<Ring>) -> Vec<Attack> {
    vec![
        attack("announcing everything and giving nothing", Due::Mercy, ring, |line, ring| {
            goes_along(line, ring, |_, _| None)
        }),
        attack("announcing everything and refusing it", Due::Mercy, ring, |line, ring| {
            goes_along(line, ring, |asked, _| Some(Message::Reject(asked)))
        }),
        attack("giving one block of each piece", Due::Mercy, ring, |line, ring| {
            goes_along(line, ring, |asked, seq| {
                (asked.begin >= BLOCK).then(|| ring.piece(seq).map(|piece| block(asked, &piece)))?
            })
        }),
    ]
}

/// Those who say what cannot be, and those who talk too much.
fn promises(ring: &Arc<Ring>) -> Vec<Attack> {
    let floods = |name, due, what: fn(&Ring, u32) -> Bytes| {
        attack(name, due, ring, move |line, ring| {
            line.meet()?;
            let newest = ring.newest(line)?;
            line.send(&hello(Some(ring.state(newest))))?;
            line.send(&Message::Unchoke)?;
            loop {
                let newest = ring.newest(line)?;
                line.raw(&what(ring, newest))?;
                thread::park_timeout(Duration::from_millis(1));
            }
        })
    };
    vec![
        attack("a bitfield of all ones", Due::Either, ring, |line, ring| {
            line.meet()?;
            let newest = ring.newest(line)?;
            let full = vec![0xff; ring.slots().div_ceil(8) as usize];
            line.send(&Message::Bitfield(full.into()))?;
            line.send(&hello(Some(ring.state(newest))))?;
            line.send(&Message::Unchoke)?;
            line.listen()
        }),
        attack("having all, by the fast extension", Due::Mercy, ring, |line, ring| {
            line.meet()?;
            let newest = ring.newest(line)?;
            line.send(&Message::HaveAll)?;
            line.send(&hello(Some(ring.state(newest))))?;
            line.send(&Message::Unchoke)?;
            line.listen()
        }),
        floods("having what does not exist yet", Due::Mercy, |ring, newest| {
            let ahead = (1..ring.slots() / 2).map(|n| encoded(&Message::Have((newest + n) % ring.slots())));
            ahead.collect::<Vec<_>>().concat().into()
        }),
        floods("a flood of haves", Due::Mercy, |ring, _| {
            let all = (0..ring.slots()).map(|n| encoded(&Message::Have(n)));
            all.collect::<Vec<_>>().concat().into()
        }),
        floods("the same stamp again and again", Due::Mercy, |ring, newest| {
            encoded(&tell(&ring.state(newest))).repeat(50).into()
        }),
        floods("old stamps", Due::Mercy, |ring, newest| {
            let old = newest.saturating_sub(ring.window() * 2)..newest;
            old.map(|seq| encoded(&tell(&ring.state(seq)))).collect::<Vec<_>>().concat().into()
        }),
        floods("requests for what is gone", Due::Either, |ring, newest| {
            let gone = |n: u32| RawBlock {
                index: (newest + ring.slots() / 2 + n) % ring.slots(),
                begin: 0,
                length: BLOCK,
            };
            (0..2).map(|n| encoded(&Message::Request(gone(n)))).collect::<Vec<_>>().concat().into()
        }),
    ]
}

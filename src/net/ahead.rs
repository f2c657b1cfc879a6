//! Blocks that come back to back, read with one system call.
//!
//! A fast peer answers a queue of requests with one block behind the other. So while a payload is read, the frames
//! behind it are guessed to be whole blocks too: header, payload, header, payload, each payload into an allocation
//! of its own. Where the guess was wrong, the bytes go on as if they had been read the plain way.

use std::collections::VecDeque;
use std::io::IoSliceMut;

use bytes::BytesMut;
use smallvec::SmallVec;

use super::pool::PooledBlock;
use crate::metainfo::geometry::BLOCK_LENGTH;
use crate::wire::message::{Header, MessageError, PIECE_HEADER, RawBlock};

/// Blocks guessed at most: more save nothing, and each connection may hold so much memory for what may not come.
const MAX_GUESSED: usize = 7;

/// Where one system call reads to.
pub(super) type Rooms<'a> = SmallVec<[IoSliceMut<'a>; 2 + 2 * MAX_GUESSED]>;

/// Room for a guessed frame.
struct Guess {
    header: [u8; PIECE_HEADER],
    payload: PooledBlock,
}

impl Guess {
    fn new() -> Self {
        Self { header: [0; PIECE_HEADER], payload: PooledBlock::new() }
    }
}

/// A block whose payload has come in part or whole.
pub(super) struct Begun {
    pub(super) block: RawBlock,
    pub(super) payload: PooledBlock,
    /// Bytes of the payload that are there.
    pub(super) filled: usize,
}

/// The guessed frames behind the payload that is being read, and how many bytes of them came.
#[derive(Default)]
pub(super) struct Ahead {
    guesses: VecDeque<Guess>,
    /// The header behind the last guessed block.
    last: [u8; PIECE_HEADER],
    /// Blocks guessed.
    count: usize,
    /// Bytes read into the guesses, in order, and not yet taken.
    came: usize,
}

impl Ahead {
    /// Where to read to: the rest of a payload, then the guesses. All earlier bytes must have been taken.
    pub(super) fn rooms<'a>(&'a mut self, rest: &'a mut [u8]) -> Rooms<'a> {
        debug_assert_eq!(self.came, 0);
        self.guesses.resize_with(self.count, Guess::new);
        let mut rooms = SmallVec::new();
        rooms.push(IoSliceMut::new(rest));
        for guess in &mut self.guesses {
            rooms.push(IoSliceMut::new(&mut guess.header));
            rooms.push(IoSliceMut::new(guess.payload.bytes_mut()));
        }
        rooms.push(IoSliceMut::new(&mut self.last));
        rooms
    }

    /// So many bytes were read beyond the payload. Guesses more where all rooms were filled.
    pub(super) fn read(&mut self, came: usize) {
        const WHOLE: usize = PIECE_HEADER + BLOCK_LENGTH as usize;
        self.came = came;
        self.count = match came {
            _ if came == self.count * WHOLE + PIECE_HEADER => (2 * self.count + 1).min(MAX_GUESSED),
            _ => self.count.min(came / WHOLE + 1),
        };
    }

    /// The next block that was guessed right, or everything that came into `buffer`.
    ///
    /// # Errors
    /// For a header that breaks the protocol.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Begun>, MessageError> {
        if self.came >= PIECE_HEADER
            && let Some(Guess { header, payload }) = self.guesses.pop_front()
        {
            match Header::parse(&header)? {
                Some(Header::Block(block)) if block.length == BLOCK_LENGTH => {
                    let filled = (BLOCK_LENGTH as usize).min(self.came - PIECE_HEADER);
                    self.came -= PIECE_HEADER + filled;
                    return Ok(Some(Begun { block, payload, filled }));
                }
                _ => self.guesses.push_front(Guess { header, payload }),
            }
        }
        self.put_back(buffer);
        Ok(None)
    }

    fn put_back(&mut self, buffer: &mut BytesMut) {
        let runs = self.guesses.iter().flat_map(|guess| [&guess.header[..], guess.payload.as_ref()]);
        for run in runs.chain([&self.last[..]]) {
            let length = run.len().min(self.came);
            buffer.extend_from_slice(&run[..length]);
            self.came -= length;
        }
    }
}

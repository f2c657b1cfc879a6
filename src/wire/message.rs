//! The peer protocol's messages (BEP 3, BEP 6, BEP 10) and their frames.
//!
//! Decoding is split so that a block's payload is never copied: [`Header::parse`] looks at the fixed bytes in
//! front of a frame and says how much follows; the driver reads exactly that much, small frames go to
//! [`Message::decode`], a block's payload becomes [`Message::Piece`] as it is.
//! Indices are raw numbers here: only the torrent's geometry can tell whether they exist.

use bytes::{BufMut, Bytes, BytesMut};

/// Longest frame other than a block: a bitfield of the most pieces we allow, with room for extension messages.
pub const MAX_FRAME: u32 = 1 << 20;
/// Longest payload of a piece message that we accept; we never ask for more than 16 KiB.
pub const MAX_BLOCK: u32 = 128 * 1024;
/// Bytes in front of a block's payload: length, id, index, begin.
pub const PIECE_HEADER: usize = 13;

/// A stranger's claim about a run of bytes in a piece; not checked against any torrent.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct RawBlock {
    /// Piece number.
    pub index: u32,
    /// Offset in the piece.
    pub begin: u32,
    /// Bytes.
    pub length: u32,
}

/// One message of the peer protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Four zero bytes: nothing to say, still here.
    KeepAlive,
    /// The sender will not answer requests.
    Choke,
    /// The sender will answer requests.
    Unchoke,
    /// The sender would like to request.
    Interested,
    /// The sender has nothing to ask for.
    NotInterested,
    /// The sender has this piece.
    Have(u32),
    /// The pieces that the sender has, right after the handshake.
    Bitfield(Bytes),
    /// Please send this block.
    Request(RawBlock),
    /// A block.
    Piece {
        /// Piece number.
        index: u32,
        /// Offset in the piece.
        begin: u32,
        /// The block's bytes.
        data: Bytes,
    },
    /// The request is no longer wanted.
    Cancel(RawBlock),
    /// UDP port of the sender's DHT node (BEP 5).
    Port(u16),
    /// A good piece to ask for (BEP 6).
    Suggest(u32),
    /// Instead of a full bitfield (BEP 6).
    HaveAll,
    /// Instead of an empty bitfield (BEP 6).
    HaveNone,
    /// The request will not be answered (BEP 6).
    Reject(RawBlock),
    /// This piece may be requested while choked (BEP 6).
    AllowedFast(u32),
    /// An extension message (BEP 10): id 0 is the handshake, others as agreed in it.
    Extended {
        /// The extension's number at the receiver.
        id: u8,
        /// What it carries.
        payload: Bytes,
    },
    /// A message that we do not know; skipped, as BEP 3 and 10 expect.
    Unknown(u8),
}

/// Why a frame is refused; the peer that sent it is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than [`MAX_FRAME`] (or, for a block, than [`MAX_BLOCK`]).
    #[error("a frame of {length} bytes with id {id}")]
    TooLong {
        /// Length from the frame's prefix.
        length: u32,
        /// Message id.
        id: u8,
    },
    /// The length does not fit the id.
    #[error("a message with id {id} and {length} bytes")]
    Length {
        /// Bytes behind the prefix.
        length: u32,
        /// Message id.
        id: u8,
    },
}

/// What the first bytes of a frame say.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Header {
    /// A keep-alive: four bytes, nothing follows.
    KeepAlive,
    /// A small frame: `length` bytes follow the four of the prefix (the id is the first of them).
    Frame {
        /// Bytes behind the prefix.
        length: u32,
    },
    /// A block: `length` bytes of payload follow the [`PIECE_HEADER`].
    Block(RawBlock),
}

mod id {
    pub(super) const CHOKE: u8 = 0;
    pub(super) const UNCHOKE: u8 = 1;
    pub(super) const INTERESTED: u8 = 2;
    pub(super) const NOT_INTERESTED: u8 = 3;
    pub(super) const HAVE: u8 = 4;
    pub(super) const BITFIELD: u8 = 5;
    pub(super) const REQUEST: u8 = 6;
    pub(super) const PIECE: u8 = 7;
    pub(super) const CANCEL: u8 = 8;
    pub(super) const PORT: u8 = 9;
    pub(super) const SUGGEST: u8 = 13;
    pub(super) const HAVE_ALL: u8 = 14;
    pub(super) const HAVE_NONE: u8 = 15;
    pub(super) const REJECT: u8 = 16;
    pub(super) const ALLOWED_FAST: u8 = 17;
    pub(super) const EXTENDED: u8 = 20;
}

impl Header {
    /// Reads the front of a frame. `None` when more bytes are needed (never more than [`PIECE_HEADER`]).
    ///
    /// # Errors
    /// When the frame is longer than the limits, or a block without payload.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, MessageError> {
        let Some(length) = be32(bytes, 0) else { return Ok(None) };
        if length == 0 {
            return Ok(Some(Self::KeepAlive));
        }
        let Some(&id) = bytes.get(4) else { return Ok(None) };
        if id != id::PIECE {
            return if length > MAX_FRAME {
                Err(MessageError::TooLong { length, id })
            } else {
                Ok(Some(Self::Frame { length }))
            };
        }
        let Some(payload) = length.checked_sub(9).filter(|l| *l > 0) else {
            return Err(MessageError::Length { length, id });
        };
        if payload > MAX_BLOCK {
            return Err(MessageError::TooLong { length, id });
        }
        let (Some(index), Some(begin)) = (be32(bytes, 5), be32(bytes, 9)) else { return Ok(None) };
        Ok(Some(Self::Block(RawBlock { index, begin, length: payload })))
    }
}

impl Message {
    /// Decodes a small frame: `frame` is what follows the length prefix and is not empty.
    ///
    /// # Errors
    /// When the length does not fit the id.
    pub fn decode(frame: &Bytes) -> Result<Self, MessageError> {
        let Some((&id, body)) = frame.split_first() else {
            return Ok(Self::KeepAlive);
        };
        let wrong = || MessageError::Length { length: u32::try_from(frame.len()).unwrap_or(u32::MAX), id };
        let empty = |message| if body.is_empty() { Ok(message) } else { Err(wrong()) };
        let number = || be32(body, 0).filter(|_| body.len() == 4).ok_or_else(wrong);
        let block = || raw_block(body).ok_or_else(wrong);
        match id {
            id::CHOKE => empty(Self::Choke),
            id::UNCHOKE => empty(Self::Unchoke),
            id::INTERESTED => empty(Self::Interested),
            id::NOT_INTERESTED => empty(Self::NotInterested),
            id::HAVE => number().map(Self::Have),
            id::BITFIELD => Ok(Self::Bitfield(frame.slice(1..))),
            id::REQUEST => block().map(Self::Request),
            id::CANCEL => block().map(Self::Cancel),
            id::PORT => {
                <[u8; 2]>::try_from(body).map(|b| Self::Port(u16::from_be_bytes(b))).map_err(|_| wrong())
            }
            id::SUGGEST => number().map(Self::Suggest),
            id::HAVE_ALL => empty(Self::HaveAll),
            id::HAVE_NONE => empty(Self::HaveNone),
            id::REJECT => block().map(Self::Reject),
            id::ALLOWED_FAST => number().map(Self::AllowedFast),
            id::EXTENDED => {
                let (&id, _) = body.split_first().ok_or_else(wrong)?;
                Ok(Self::Extended { id, payload: frame.slice(2..) })
            }
            id::PIECE => {
                let (Some(index), Some(begin)) = (be32(body, 0), be32(body, 4)) else { return Err(wrong()) };
                Ok(Self::Piece { index, begin, data: frame.slice(9..) })
            }
            other => Ok(Self::Unknown(other)),
        }
    }

    /// Appends the message's frame; of a [`Message::Piece`] everything but the payload, which the driver
    /// writes from where it lies. [`Message::Unknown`] writes nothing.
    pub fn encode_head(&self, out: &mut BytesMut) {
        match self {
            Self::KeepAlive => out.put_u32(0),
            Self::Choke => bare(out, id::CHOKE),
            Self::Unchoke => bare(out, id::UNCHOKE),
            Self::Interested => bare(out, id::INTERESTED),
            Self::NotInterested => bare(out, id::NOT_INTERESTED),
            Self::Have(index) => with_number(out, id::HAVE, *index),
            Self::Bitfield(bits) => with_bytes(out, id::BITFIELD, bits),
            Self::Request(block) => with_block(out, id::REQUEST, *block),
            Self::Piece { index, begin, data } => {
                out.put_u32(9 + u32::try_from(data.len()).expect("blocks are at most MAX_BLOCK"));
                out.put_u8(id::PIECE);
                out.put_u32(*index);
                out.put_u32(*begin);
            }
            Self::Cancel(block) => with_block(out, id::CANCEL, *block),
            Self::Port(port) => with_bytes(out, id::PORT, &port.to_be_bytes()),
            Self::Suggest(index) => with_number(out, id::SUGGEST, *index),
            Self::HaveAll => bare(out, id::HAVE_ALL),
            Self::HaveNone => bare(out, id::HAVE_NONE),
            Self::Reject(block) => with_block(out, id::REJECT, *block),
            Self::AllowedFast(index) => with_number(out, id::ALLOWED_FAST, *index),
            Self::Extended { id, payload } => {
                out.put_u32(2 + u32::try_from(payload.len()).expect("extension messages fit a frame"));
                out.put_u8(id::EXTENDED);
                out.put_u8(*id);
                out.put_slice(payload);
            }
            Self::Unknown(_) => {}
        }
    }

    /// Bytes of the whole frame on the wire.
    pub fn wire_length(&self) -> usize {
        match self {
            Self::KeepAlive => 4,
            Self::Choke
            | Self::Unchoke
            | Self::Interested
            | Self::NotInterested
            | Self::HaveAll
            | Self::HaveNone => 5,
            Self::Have(_) | Self::Suggest(_) | Self::AllowedFast(_) => 9,
            Self::Bitfield(bits) => 5 + bits.len(),
            Self::Request(_) | Self::Cancel(_) | Self::Reject(_) => 17,
            Self::Piece { data, .. } => PIECE_HEADER + data.len(),
            Self::Port(_) => 7,
            Self::Extended { payload, .. } => 6 + payload.len(),
            Self::Unknown(_) => 0,
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes)
}

fn raw_block(body: &[u8]) -> Option<RawBlock> {
    (body.len() == 12)
        .then(|| Some(RawBlock { index: be32(body, 0)?, begin: be32(body, 4)?, length: be32(body, 8)? }))?
}

fn bare(out: &mut BytesMut, id: u8) {
    with_bytes(out, id, &[]);
}

fn with_number(out: &mut BytesMut, id: u8, number: u32) {
    with_bytes(out, id, &number.to_be_bytes());
}

fn with_block(out: &mut BytesMut, id: u8, block: RawBlock) {
    out.put_u32(13);
    out.put_u8(id);
    out.put_u32(block.index);
    out.put_u32(block.begin);
    out.put_u32(block.length);
}

fn with_bytes(out: &mut BytesMut, id: u8, body: &[u8]) {
    out.put_u32(1 + u32::try_from(body.len()).expect("bodies fit a frame"));
    out.put_u8(id);
    out.put_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_block() -> impl Strategy<Value = RawBlock> {
        any::<(u32, u32, u32)>().prop_map(|(index, begin, length)| RawBlock { index, begin, length })
    }

    fn any_bytes(max: usize) -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
    }

    fn any_message() -> impl Strategy<Value = Message> {
        prop_oneof![
            Just(Message::KeepAlive),
            Just(Message::Choke),
            Just(Message::Unchoke),
            Just(Message::Interested),
            Just(Message::NotInterested),
            Just(Message::HaveAll),
            Just(Message::HaveNone),
            any::<u32>().prop_map(Message::Have),
            any::<u32>().prop_map(Message::Suggest),
            any::<u32>().prop_map(Message::AllowedFast),
            any::<u16>().prop_map(Message::Port),
            any_block().prop_map(Message::Request),
            any_block().prop_map(Message::Cancel),
            any_block().prop_map(Message::Reject),
            any_bytes(300).prop_map(Message::Bitfield),
            (any::<u8>(), any_bytes(300)).prop_map(|(id, payload)| Message::Extended { id, payload }),
            (any::<u32>(), any::<u32>(), any_bytes(300))
                .prop_filter("a block has bytes", |(_, _, d)| !d.is_empty())
                .prop_map(|(index, begin, data)| Message::Piece { index, begin, data }),
        ]
    }

    /// Reads one frame the way the driver does.
    fn read(bytes: &Bytes) -> Result<Option<Message>, MessageError> {
        Ok(match Header::parse(bytes)? {
            None => None,
            Some(Header::KeepAlive) => Some(Message::KeepAlive),
            Some(Header::Frame { length }) if bytes.len() < 4 + length as usize => None,
            Some(Header::Frame { length }) => Some(Message::decode(&bytes.slice(4..4 + length as usize))?),
            Some(Header::Block(b)) if bytes.len() < PIECE_HEADER + b.length as usize => None,
            Some(Header::Block(b)) => {
                let data = bytes.slice(PIECE_HEADER..PIECE_HEADER + b.length as usize);
                Some(Message::Piece { index: b.index, begin: b.begin, data })
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in any_message()) {
            let mut out = BytesMut::new();
            message.encode_head(&mut out);
            if let Message::Piece { data, .. } = &message {
                out.put_slice(data);
            }
            prop_assert_eq!(out.len(), message.wire_length());
            let whole = out.freeze();
            prop_assert_eq!(read(&whole), Ok(Some(message)));
            for cut in 0..whole.len().min(40) {
                prop_assert_eq!(read(&whole.slice(..cut)), Ok(None));
            }
        }

        #[test]
        fn garbage_is_an_error_or_a_message_never_a_panic(bytes in any_bytes(200)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn absurd_lengths_are_refused_before_anything_is_read() {
        let endless = [0xff, 0xff, 0xff, 0xff, id::BITFIELD];
        assert_eq!(
            Header::parse(&endless),
            Err(MessageError::TooLong { length: u32::MAX, id: id::BITFIELD })
        );
        let block = [0, 2, 0, 10, id::PIECE];
        assert!(matches!(Header::parse(&block), Err(MessageError::TooLong { .. })));
        let empty_block = [0, 0, 0, 9, id::PIECE];
        assert!(matches!(Header::parse(&empty_block), Err(MessageError::Length { .. })));
    }

    #[test]
    fn a_wrong_length_names_the_message() {
        for (frame, id) in [(&[4, 0, 0][..], 4), (&[0, 1], 0), (&[6, 1, 2, 3], 6), (&[20], 20), (&[7, 0], 7)]
        {
            let error = Message::decode(&Bytes::copy_from_slice(frame)).unwrap_err();
            assert_eq!(error, MessageError::Length { length: frame.len() as u32, id });
        }
        assert_eq!(Message::decode(&Bytes::from_static(&[99, 1, 2])), Ok(Message::Unknown(99)));
    }
}

//! How a host keeps to the rules: what stands between its engine and the network where it does not.
//!
//! A cheat is a filter at the edge of a host. The engine behind it runs as it is, with all its checks, and believes
//! that it takes part; some of what it says is swallowed, and some of what it would hear is answered in its place.
//! Nothing in the engine knows of cheats.

use crate::swarm::{Input, Output};
use crate::wire::message::Message;

/// How a host keeps to the rules.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    /// It does.
    #[default]
    Honest,
    /// It asks and takes like anybody, and never gives a byte: nobody is unchoked or invited, and who asks all the same
    /// is turned down. It tells no lies: what it has it announces.
    FreeRider,
}

impl Conduct {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Honest, Self::FreeRider];

    /// Its name in scenarios and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::FreeRider => "free-rider",
        }
    }

    /// Whether others get anything from it.
    pub const fn gives(self) -> bool {
        matches!(self, Self::Honest)
    }

    /// What becomes of something that the engine says.
    pub(super) fn says(self, message: Message) -> Option<Message> {
        let gift = matches!(
            message,
            // Who was never unchoked need not be choked.
            Message::Choke
                | Message::Unchoke
                | Message::Suggest(_)
                | Message::AllowedFast(_)
                | Message::Piece { .. }
        );
        (self.gives() || !gift).then_some(message)
    }

    /// What is answered to something that the engine then never hears of.
    pub(super) fn answers(self, input: &Input) -> Option<Output> {
        match input {
            Input::Message { peer, message: Message::Request(block) } if !self.gives() => {
                Some(Output::Send { peer: *peer, message: Message::Reject(*block) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::PeerKey;
    use crate::wire::message::RawBlock;
    use slotmap::SlotMap;

    #[test]
    fn a_free_rider_takes_part_and_gives_nothing() {
        let data = bytes::Bytes::from_static(b"data");
        let block = RawBlock { index: 3, begin: 0, length: 4 };
        let gifts = [Message::Unchoke, Message::Suggest(3), Message::Piece { index: 3, begin: 0, data }];
        for gift in gifts {
            assert_eq!(Conduct::FreeRider.says(gift.clone()), None);
            assert_eq!(Conduct::Honest.says(gift.clone()), Some(gift));
        }
        for word in [Message::Interested, Message::Have(3), Message::Request(block), Message::Cancel(block)] {
            assert_eq!(Conduct::FreeRider.says(word.clone()), Some(word));
        }
        let peer = SlotMap::<PeerKey, ()>::with_key().insert(());
        let asks = Input::Message { peer, message: Message::Request(block) };
        let answer = Conduct::FreeRider.answers(&asks);
        assert!(
            matches!(answer, Some(Output::Send { peer: to, message: Message::Reject(no) }) if to == peer && no == block)
        );
        assert!(Conduct::Honest.answers(&asks).is_none());
    }
}

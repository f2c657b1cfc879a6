//! How a host keeps to the rules: what stands between its engine and the network where it does not.
//!
//! A cheat is a filter at the edge of a host. The engine behind it runs as it is, with all its checks, and believes
//! that it takes part; some of what it says is swallowed, and some of what it would hear is answered in its place.
//! Nothing in the engine knows of cheats.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::swarm::{Input, Output};
use crate::wire::g2g::Told;
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
    /// A free-rider that names nobody but itself as somebody who gave it something.
    Liar,
    /// A free-rider that names nobody but its accomplice, which does the same for it.
    Colluder,
}

impl Conduct {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Honest, Self::FreeRider, Self::Liar, Self::Colluder];

    /// Its name in scenarios and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::FreeRider => "free-rider",
            Self::Liar => "liar",
            Self::Colluder => "colluder",
        }
    }

    /// Whether others get anything from it.
    pub const fn gives(self) -> bool {
        matches!(self, Self::Honest)
    }

    /// Which of so many of its class the `n`th one praises, if it lies.
    pub(super) fn praised(self, n: usize, count: usize) -> Option<usize> {
        match self {
            Self::Honest | Self::FreeRider => None,
            Self::Liar => Some(n),
            Self::Colluder => Some(if n ^ 1 < count { n ^ 1 } else { n }),
        }
    }

    /// What becomes of something that the engine says, where it praises somebody if it lies.
    pub(super) fn says(self, message: Message, praised: Option<SocketAddr>) -> Option<Message> {
        let gift = matches!(
            message,
            // Who was never unchoked need not be choked.
            Message::Choke
                | Message::Unchoke
                | Message::Suggest(_)
                | Message::AllowedFast(_)
                | Message::Piece { .. }
        );
        (self.gives() || !gift).then(|| match (praised, message) {
            (Some(praised), Message::Extended { id, payload }) if id > 0 => {
                Message::Extended { id, payload: praising(praised, payload) }
            }
            (_, message) => message,
        })
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

/// The same message, with this one in place of those who gave something.
fn praising(praised: SocketAddr, payload: Bytes) -> Bytes {
    match Told::decode(&payload) {
        Ok(told) if !told.givers.is_empty() => Told { givers: vec![praised], ..told }.encode(),
        _ => payload,
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
            assert_eq!(Conduct::FreeRider.says(gift.clone(), None), None);
            assert_eq!(Conduct::Honest.says(gift.clone(), None), Some(gift));
        }
        for word in [Message::Interested, Message::Have(3), Message::Request(block), Message::Cancel(block)] {
            assert_eq!(Conduct::FreeRider.says(word.clone(), None), Some(word));
        }
        let peer = SlotMap::<PeerKey, ()>::with_key().insert(());
        let asks = Input::Message { peer, message: Message::Request(block) };
        let answer = Conduct::FreeRider.answers(&asks);
        assert!(
            matches!(answer, Some(Output::Send { peer: to, message: Message::Reject(no) }) if to == peer && no == block)
        );
        assert!(Conduct::Honest.answers(&asks).is_none());
    }

    #[test]
    fn who_lies_names_nobody_but_itself_or_its_accomplice() {
        let praised = |conduct: Conduct| [0, 1, 2].map(|n| conduct.praised(n, 3));
        assert_eq!(praised(Conduct::FreeRider), [None; 3]);
        assert_eq!(praised(Conduct::Liar), [0, 1, 2].map(Some));
        assert_eq!(praised(Conduct::Colluder), [1, 0, 2].map(Some));
        let [honest, friend]: [SocketAddr; 2] =
            ["10.0.0.1:1", "10.0.0.2:1"].map(|addr| addr.parse().unwrap());
        let of = |told: &Told| Message::Extended { id: 7, payload: told.encode() };
        let told = Told { givers: vec![honest], fetching: Some(3), ..Told::default() };
        assert_eq!(
            Conduct::Colluder.says(of(&told), Some(friend)),
            Some(of(&Told { givers: vec![friend], ..told }))
        );
        let other = of(&Told { fetching: Some(3), ..Told::default() });
        assert_eq!(Conduct::Colluder.says(other.clone(), Some(friend)), Some(other));
    }
}

//! Which policy an engine follows.
//!
//! Everybody runs [`Policy::GiveToGet`]. The others are what other clients do, for the simulator: it puts them beside
//! each other, and lets them meet. In a broadcast they keep to the same window and begin at the same place, and differ
//! in what is fetched first and who is served; what comes too late is asked elsewhere by all of them.

use std::fmt;
use std::str::FromStr;

/// How pieces are chosen and who is served.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// What is played soon in order, the rest rarest first; those who forward well are served first.
    #[default]
    GiveToGet,
    /// A stock client: rarest first, and tit-for-tat (BEP 3).
    RarestFirst,
    /// A stock client in its sequential mode: in order, and tit-for-tat.
    Sequential,
    /// A streaming client of today: in order, and whoever wants something is served.
    SequentialToAll,
}

/// A word that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no policy; there are {names}", names = Policy::names())]
pub struct UnknownPolicy(String);

impl Policy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::GiveToGet, Self::RarestFirst, Self::Sequential, Self::SequentialToAll];

    /// Its name in scenarios and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GiveToGet => "give-to-get",
            Self::RarestFirst => "rarest-first",
            Self::Sequential => "sequential",
            Self::SequentialToAll => "sequential-to-all",
        }
    }

    /// Whether pieces are fetched in order whatever others have.
    pub const fn is_sequential(self) -> bool {
        matches!(self, Self::Sequential | Self::SequentialToAll)
    }

    /// Whether another client than ours behaves so.
    pub const fn is_stock(self) -> bool {
        !matches!(self, Self::GiveToGet)
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let named = Self::ALL.into_iter().find(|policy| policy.name() == name);
        named.ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Input;
    use super::super::testbed::Testbed;
    use super::*;
    use crate::wire::message::Message;

    #[test]
    fn names_are_read_as_they_are_written() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        let error = "tit-for-tat".parse::<Policy>().unwrap_err().to_string();
        assert_eq!(
            error,
            "'tit-for-tat' is no policy; there are give-to-get, rarest-first, sequential, sequential-to-all"
        );
    }

    /// How many of so many neighbours a source serves, and how many it invites.
    fn served_and_invited(policy: Policy, neighbours: usize) -> (usize, usize) {
        let mut bed = Testbed::live_of(policy, 400, true);
        for _ in 0..neighbours {
            let peer = bed.connect(true);
            bed.hear(peer, Message::HaveNone);
            bed.hear(peer, Message::Interested);
        }
        let stamp = Box::new(bed.sign(5));
        bed.input(Input::Captured { stamp });
        let said = |what: fn(&Message) -> bool| bed.said.iter().filter(|(_, said)| what(said)).count();
        (said(|m| *m == Message::Unchoke), said(|m| matches!(m, Message::Suggest(_))))
    }

    #[test]
    fn who_is_served_in_a_broadcast_is_the_policys_choice() {
        let (served, invited) = served_and_invited(Policy::GiveToGet, 30);
        assert!(served == 30 && invited > 0);
        assert_eq!(served_and_invited(Policy::RarestFirst, 30), (21, 0));
        assert_eq!(served_and_invited(Policy::Sequential, 30), (21, 0));
        assert_eq!(served_and_invited(Policy::SequentialToAll, 30), (30, 0));
    }

    #[test]
    fn what_is_fetched_first_of_a_broadcast_is_the_policys_choice() {
        let first = |policy| {
            let mut bed = Testbed::live_of(policy, 400, false);
            let peers = [bed.live_peer(100..140), bed.live_peer(100..138)];
            bed.watch();
            bed.requests(peers[0]).iter().map(|block| block.piece.number()).min()
        };
        let playhead = first(Policy::GiveToGet).unwrap();
        assert_eq!([first(Policy::Sequential), first(Policy::SequentialToAll)], [Some(playhead); 2]);
        assert!((138..140).contains(&first(Policy::RarestFirst).unwrap()));
    }
}

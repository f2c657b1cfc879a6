//! Which policy an engine follows, and what Give-to-Get is.
//!
//! Everybody runs [`Policy::GiveToGet`]. The others are what other clients do, for the simulator: it puts them beside
//! each other, and lets them meet. In a broadcast they keep to the same window and begin at the same place, and differ
//! in what is fetched first and who is served; what comes too late is asked elsewhere by all of them.
//!
//! # The problem
//!
//! All who watch want the same next. If all ask for what they play next, all have the same, nobody has anything for
//! anybody, and the seed's uplink is all that there is: so streaming clients come to a third of the bitrate where a
//! seed sends twice the bitrate and each viewer once. Rarest-first makes everybody useful, and plays nothing before
//! the end. And tit-for-tat repays whom we need, but who is ahead of us needs nothing of ours.
//!
//! Give-to-Get (Mol, Pouwelse, Meulpolder, Epema and Sips, 2008) has two answers: what is played soon is fetched in
//! order, the rest rarest first; and who *forwards* well is served, whoever it forwards to. We keep both, and change
//! how: uplinks choose, not downlinks, and who receives tells who forwarded.
//!
//! # A film
//!
//! Neighbours that speak [`sw_g2g`](crate::wire::g2g) *trade*; other clients have slots ([`choker`](super::choker)).
//!
//! 1. **Telling.** Everybody tells its neighbours all that it has (*have*), the pieces that it plays next and how fast
//!    (at most once a second), and the piece that it begins to fetch: those hear of it who have it, and of a piece from
//!    a seed all. It is expected to have it within five seconds.
//! 2. **Inviting.** Who has room on its way out invites: it names a piece (*suggest*), and the neighbour may ask for one
//!    *turn*, of that piece or of what it needs more. A turn is a piece, 256 KiB at most; where the uplink is slower
//!    than half of the film's rate, what it sends in 0.8 s. Invitations are out for what is sent in a turn and half a
//!    second, for three turns at least; they hold for 0.8 s at the guest, and 1.5 s at the host. Who has not come in
//!    half a second is given up, and rests for a second; who declines, for a tenth. One invitation of each neighbour is
//!    open at a time (four where there are hardly others), and as many more as turns that it took in half a second.
//! 3. **To what.** Of the next pieces that a neighbour lacks, twice as many as it says that it plays soon, it is invited
//!    to the one of which there are *fewest copies for its place*: copies (those under way count) are counted in
//!    doublings, log2(copies + 1), and a piece that is twice as far behind as what is played soon is as good without
//!    a copy as the first one is with one at every neighbour.
//! 4. **Whom.** Who can wait least, in steps of six seconds: the time of what lies in front of its playhead (who does
//!    not play can wait longest), and three seconds for each doubling of those who could give it the same, and its
//!    handicap (`ledger`) if it passes on nothing. Of those who can wait equally long: whom we can give the first
//!    piece that it lacks; who has got least, in steps of a MiB; of whose piece there are fewest copies; then by lot.
//! 5. **Asking.** An invited viewer asks for what a reader waits for; what was begun; what it is invited to, as long as
//!    fewer than three pieces lie behind its first hole; and else what it plays first. From seeds that do not trade, for
//!    what nobody has or fetches, one of the first few by lot. Who has no use for an invitation declines it.
//! 6. **Sending.** One turn after the other, 50 ms of the uplink at a time: the first copy can be passed on while the
//!    second one is on its way. Other clients are repaid what they gave; an eighth of what those get that trade comes on
//!    top, and what nobody else wants (`dues`).
//! 7. **The ledger.** Each names those who gave it 64 KiB in the last minute. Who has less than a quarter of the votes
//!    for each chance that the best quarter of our neighbours has waits up to a minute longer (`ledger`).
//!
//! The reader's side of it, which are the sets to be played soon (h is ten seconds, µ four), is in
//! [`playback`](crate::stream::playback); when a player may start, in [`start`](crate::stream::start).
//!
//! # A broadcast
//!
//! Everybody plays the same at about the same time, and what is new has to be with all within seconds. So a new piece is
//! *news* for five seconds: who has it invites to it, the piece with fewest copies first and the neighbour that lacks
//! most news, those who pass on nothing last (`invite`). What is needed within a third of the buffer
//! may be asked for without an invitation, and is turned down at once where it could not be sent within two seconds
//! (`live_serve`). Pieces are given whole, invited and uninvited ones in turn.
//!
//! # What was tried and given up
//!
//! Slots for neighbours that trade: uplinks stand still while those in the slots have nothing to ask for. Pieces in
//! order from a seed: all have the same. Playheads alone: newcomers are served for ever, to whom anybody could give the
//! beginning. Turns as long as a time on all uplinks: they are less than a piece on most, and leave nothing to pass on.

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

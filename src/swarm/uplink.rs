//! The way out: how fast it is, and who waits for it.
//!
//! Two lanes lead to it. In a broadcast those are in one of them who were [invited](super::invite) to what has just been
//! made, in the other those who came on their own, for what has been there for a while: they have just joined, or have
//! missed it. They take turns, so that neither lane ever stands still.
//!
//! In a film neighbours that [trade](super::offer) are in the one, other clients in the other: these get what they are
//! [owed](super::dues), and what nobody else wants.

use std::collections::VecDeque;

use super::PeerKey;
use super::dues::Dues;
use crate::metainfo::geometry::{BLOCK_LENGTH, PieceIndex};
use crate::rate::{ByteRate, RateMeter};
use crate::time::{Duration, Instant};

/// Guests that go before one of the others.
const GUESTS_IN_A_ROW: usize = 1;
/// How fast we can send is measured over so much time in which something waited to be sent.
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// ... and is not known before so many bytes were.
const LEARNED: u64 = 8 * BLOCK_LENGTH as u64;

/// Where somebody waits for a piece.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// It was invited, or trades with us.
    Guests,
    /// It came on its own, or is another client.
    #[default]
    Others,
}

/// A piece for which somebody waits.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Who.
    pub(super) peer: PeerKey,
    /// For what.
    pub(super) piece: PieceIndex,
    /// Where.
    pub(super) lane: Lane,
}

/// What is known of our way out, and who waits for it.
#[derive(Clone, Debug)]
pub(super) struct Uplink {
    rate: RateMeter,
    /// Time in which something waited until `since`, which is set while something does.
    busy: Duration,
    since: Option<Instant>,
    /// Who is to get the rest of its piece.
    current: Option<Waiting>,
    guests: VecDeque<Waiting>,
    others: VecDeque<Waiting>,
    /// Guests that went since one of the others did.
    in_a_row: usize,
    /// What others are owed, in a film.
    dues: Option<Dues>,
    /// Bytes given in the turn that goes on.
    turn: u64,
    /// All who have asked for something or may, and perhaps some who had: few of our peers, mostly.
    takers: Vec<PeerKey>,
}

impl Default for Uplink {
    fn default() -> Self {
        Self {
            rate: RateMeter::new(RATE_WINDOW),
            busy: Duration::ZERO,
            since: None,
            current: None,
            guests: VecDeque::new(),
            others: VecDeque::new(),
            in_a_row: 0,
            dues: None,
            turn: 0,
            takers: Vec::new(),
        }
    }
}

impl Uplink {
    /// The way out of a film that others than traders get something of, too.
    pub(super) fn of_film() -> Self {
        Self { dues: Some(Dues::default()), ..Self::default() }
    }

    /// What others are owed, in a film.
    pub(super) const fn dues_mut(&mut self) -> Option<&mut Dues> {
        self.dues.as_mut()
    }

    /// Payload begins to leave.
    pub(super) fn starts(&mut self, now: Instant) {
        if self.since.is_none() {
            self.set_waiting(now, true);
        }
    }

    /// Whether payload is leaving.
    pub(super) const fn is_busy(&self) -> bool {
        self.since.is_some()
    }

    /// Payload left; `more`: some waits still.
    pub(super) fn sent(&mut self, now: Instant, bytes: u64, more: bool) {
        self.rate.add(self.clock(now), bytes);
        self.set_waiting(now, more);
    }

    fn set_waiting(&mut self, now: Instant, waiting: bool) {
        self.busy = self.clock(now) - Instant::ZERO;
        self.since = waiting.then_some(now);
    }

    /// Bytes/s that we can send, where known.
    pub(super) fn rate(&self, now: Instant) -> Option<ByteRate> {
        let known = self.rate.total() >= LEARNED;
        known.then(|| self.rate.rate(self.clock(now))).filter(|rate| rate.get() > 0)
    }

    /// The clock of the rate: runs while something waits to be sent.
    fn clock(&self, now: Instant) -> Instant {
        Instant::ZERO + self.busy + self.since.map_or(Duration::ZERO, |since| now - since)
    }

    /// Somebody asks for something, or may.
    pub(super) fn takes(&mut self, peer: PeerKey) {
        if !self.takers.contains(&peer) {
            self.takers.push(peer);
        }
    }

    /// Those who do not any more are forgotten.
    pub(super) fn review_takers(&mut self, takes: impl FnMut(&PeerKey) -> bool) {
        self.takers.retain(takes);
    }

    /// Who has asked for something or may is among these.
    pub(super) fn takers(&self) -> &[PeerKey] {
        &self.takers
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Waiting> {
        match lane {
            Lane::Guests => &mut self.guests,
            Lane::Others => &mut self.others,
        }
    }

    /// Somebody waits for a piece; before all others of its lane if it is `urgent`.
    pub(super) fn add(&mut self, waiting: Waiting, urgent: bool) {
        let lane = self.lane(waiting.lane);
        if urgent { lane.push_front(waiting) } else { lane.push_back(waiting) }
    }

    /// Somebody's turn is over, and it has not got everything.
    pub(super) fn come_again(&mut self, waiting: Waiting) {
        self.add(waiting, false);
    }

    /// Bytes are given to whose turn it is, in this lane. Gives the bytes of its turn.
    pub(super) fn spend(&mut self, lane: Lane, bytes: u64) -> u64 {
        self.turn += bytes;
        if let Some(dues) = &mut self.dues {
            match lane {
                Lane::Guests => dues.gave_to_guests(bytes),
                // What no guest wanted is a gift.
                Lane::Others if self.guests.is_empty() => {}
                Lane::Others => dues.pay(bytes),
            }
        }
        self.turn
    }

    /// Those who wait.
    pub(super) fn len(&self) -> usize {
        usize::from(self.current.is_some()) + self.guests.len() + self.others.len()
    }

    /// Somebody waits for the rest of its piece.
    pub(super) fn go_on(&mut self, waiting: Waiting) {
        match self.current {
            _ if self.waits(waiting.peer, waiting.piece) => {}
            None => self.current = Some(waiting),
            Some(_) => self.lane(waiting.lane).push_front(waiting),
        }
    }

    fn waits(&self, peer: PeerKey, piece: PieceIndex) -> bool {
        let mut all = self.current.iter().chain(&self.guests).chain(&self.others);
        all.any(|waiting| (waiting.peer, waiting.piece) == (peer, piece))
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        if let Some(current) = self.current.take() {
            return Some(current);
        }
        self.turn = 0;
        let patient = self.dues.as_ref().map_or(self.in_a_row < GUESTS_IN_A_ROW, |dues| !dues.are_due());
        let guest = if patient || self.others.is_empty() { self.guests.pop_front() } else { None };
        self.in_a_row = if guest.is_some() { self.in_a_row + 1 } else { 0 };
        guest.or_else(|| self.others.pop_front())
    }

    /// Whether nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none() && self.guests.is_empty() && self.others.is_empty()
    }

    /// Pieces that go before one that somebody asks for on its own, if so many guests are expected.
    pub(super) fn before_other(&self, expected: u64) -> u64 {
        let others = self.others.len();
        let guests = (self.guests.len() as u64 + expected).min((GUESTS_IN_A_ROW * (others + 1)) as u64);
        others as u64 + guests
    }

    /// Pieces that go before that of one more guest.
    pub(super) fn before_guest(&self, expected: u64) -> u64 {
        let guests = self.guests.len() as u64 + expected;
        guests + (self.others.len() as u64).min(guests.div_ceil(GUESTS_IN_A_ROW as u64))
    }

    /// Somebody does not wait any more for a piece.
    pub(super) fn forget(&mut self, peer: PeerKey, piece: PieceIndex) {
        let others = |waiting: &Waiting| (waiting.peer, waiting.piece) != (peer, piece);
        self.guests.retain(others);
        self.others.retain(others);
        self.current = self.current.filter(others);
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    use crate::metainfo::geometry::Geometry;

    /// So many who wait for different pieces.
    fn waiting<const N: usize>(lane: Lane) -> [Waiting; N] {
        let geometry = Geometry::new(1 << 15, 100 << 15).unwrap();
        let mut all = SlotMap::with_key();
        let mut number = if lane == Lane::Guests { 0 } else { 50 };
        [(); N].map(|()| {
            number += 1;
            Waiting { peer: all.insert(()), piece: geometry.piece(number).unwrap(), lane }
        })
    }

    fn order(uplink: &mut Uplink) -> Vec<Waiting> {
        std::iter::from_fn(|| uplink.next()).collect()
    }

    #[test]
    fn neither_guests_nor_others_wait_for_ever() {
        let ([a, b, c, d], [x, y]) = (waiting(Lane::Guests), waiting(Lane::Others));
        let mut uplink = Uplink::default();
        [x, y, a, b, c, d].into_iter().for_each(|waiting| uplink.add(waiting, false));
        assert_eq!(order(&mut uplink), [a, x, b, y, c, d]);
        assert!(uplink.is_idle());
    }

    #[test]
    fn a_piece_is_sent_whole_before_the_next_one() {
        let [a, mut b, c] = waiting(Lane::Others);
        // Two pieces for the same neighbour.
        b.peer = a.peer;
        let mut uplink = Uplink::default();
        [a, b, c].into_iter().for_each(|waiting| uplink.add(waiting, false));
        let first = uplink.next().unwrap();
        uplink.go_on(first);
        uplink.go_on(first);
        assert_eq!(order(&mut uplink), [a, b, c]);
    }

    #[test]
    fn what_goes_before_is_what_will_go_before() {
        let (guests, others): ([_; 4], [_; 3]) = (waiting(Lane::Guests), waiting(Lane::Others));
        for here in 0..=2 {
            let mut uplink = Uplink::default();
            guests[..3].iter().for_each(|waiting| uplink.add(*waiting, false));
            others[..here].iter().for_each(|waiting| uplink.add(*waiting, false));
            let (before_other, before_guest) = (uplink.before_other(0), uplink.before_guest(0));
            let mut with_other = uplink.clone();
            with_other.add(others[2], false);
            let place = order(&mut with_other).iter().position(|waiting| *waiting == others[2]);
            assert_eq!(place, usize::try_from(before_other).ok());
            uplink.add(guests[3], false);
            let place = order(&mut uplink).iter().position(|waiting| *waiting == guests[3]);
            assert!(place <= usize::try_from(before_guest).ok());
        }
    }

    #[test]
    fn who_gives_up_does_not_wait_any_more() {
        let ([a], [b]) = (waiting(Lane::Guests), waiting(Lane::Others));
        let mut uplink = Uplink::default();
        uplink.add(a, false);
        uplink.add(b, false);
        uplink.forget(a.peer, a.piece);
        assert_eq!(uplink.next(), Some(b));
        uplink.go_on(b);
        uplink.forget(b.peer, b.piece);
        assert!(uplink.is_idle());
    }

    #[test]
    fn the_rate_is_that_of_the_time_in_which_something_waited() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut uplink = Uplink::default();
        assert_eq!(uplink.rate(at(0)), None);
        for n in 0..20 {
            // A tenth of the time is used.
            uplink.starts(at(n * 1_000));
            uplink.sent(at(n * 1_000 + 100), 10_000, false);
        }
        let rate = uplink.rate(at(20_000)).unwrap().get();
        assert!((90_000..=110_000).contains(&rate), "{rate}");
    }
}

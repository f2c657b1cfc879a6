//! Whom we invite to what in a film's swarm: the choices of whoever has room on its way out.
//!
//! Each neighbour is invited to the piece that the fewest have, among those that it needs next: others give it what
//! everybody has. The sooner a piece is needed the more copies of it there should be, so twice as many are as good as
//! none of a piece that is needed some time later. A seed, which all would ask for the same, so gives each piece away
//! once before it gives any twice, in the order in which they are needed.
//!
//! Who can wait least goes first: who has little in front of its playhead, unless there are many others who have what we
//! could give it. (A seed that thought of playheads alone would serve newcomers for ever, to whom everybody else could
//! give the film's beginning, and those who are farthest into it would stall: only the seed has what they need.) Whoever
//! does not [pass on](super::ledger) what it gets can wait longer. Of those who can wait equally long, who can be given
//! the first piece that it lacks, and then who has got least so far.
//!
//! Several may invite a neighbour to the same piece. So it tells those who have a piece when it begins to fetch it, and
//! declines at once what it has no use for.
//!
//! As much is promised as can be sent soon, no more: who waits in a long line cannot go elsewhere meanwhile, and passes
//! on late what it gets late.

use std::cell::OnceCell;

use rand::RngExt as _;

use super::PeerKey;
use super::peer::Peer;
use super::torrent::Torrent;
use crate::metainfo::geometry::{Block, PieceIndex};
use crate::rate::ByteRate;
use crate::time::{Duration, Instant};
use crate::wire::message::Message;

/// What goes out is promised this much time ahead of a turn, ...
const AHEAD: Duration = Duration::from_millis(500);
/// ... or so many turns, if that is more.
const LEAST_AHEAD: u64 = 3;
/// What was promised can be asked for within this time.
const WELCOME: Duration = Duration::from_millis(1_500);
/// A guest is expected to take what it took lately in this time.
const LATELY: Duration = Duration::from_millis(500);
/// Invitations of a neighbour at a time at least, and where there are hardly others.
const OPEN: (usize, usize) = (1, 4);
/// So few neighbours are hardly others.
const FEW: usize = 2;
/// So many pieces behind the first that somebody lacks are needed soon at least, whatever it tells.
const UNTOLD: u32 = 32;
/// Somebody is invited to what comes up to so many times as far behind as what it needs soon.
const FARTHER: u32 = 2;
/// A piece so many times as far behind as what is needed soon need have no copy where the first has one at every
/// neighbour.
const HORIZON: u64 = 2;
/// Parts of a doubling.
const DOUBLING: u64 = 64;
/// Neighbours can wait equally long when it differs by less than this.
const ALIKE: Duration = Duration::from_secs(6);
/// Who does not play can wait longer than anybody who does.
const NEVER: Duration = Duration::from_secs(1 << 24);
/// A neighbour can wait so much longer each time that those are doubled who have what we could give it.
const OTHERS: Duration = Duration::from_secs(3);
/// Bytes a second at which somebody plays who has not told how fast.
const UNTOLD_RATE: ByteRate = ByteRate(256 * 1024);
/// Neighbours have got equally much when it differs by fewer bytes than this.
const MUCH: u64 = 1 << 20;

/// How much a neighbour needs to be invited; least is first.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// How long it can wait, in [`ALIKE`].
    slack: u64,
    /// Whether we cannot give it the first piece that it lacks.
    lacks_first: bool,
    /// What it has got, in [`MUCH`].
    has: u64,
    /// How many have what it could be given, or will have it soon.
    copies: u64,
}

impl Torrent {
    /// Whether a request of a neighbour that trades with us is turned down: who was not invited is served only where
    /// there is room for one more guest.
    pub(super) fn turns_down(&mut self, now: Instant, peer: PeerKey, block: Block) -> bool {
        let length = u64::from(block.length);
        let credit = self.peers.get(peer).map_or(0, |p| p.uploads.credit.left(now));
        let uninvited = (credit < length).then(|| self.turn(now));
        if uninvited.is_some_and(|turn| !self.has_room_for_a_turn(now, turn)) && !self.is_favoured(peer) {
            return true;
        }
        self.invites.came(peer, block.piece, true);
        if let Some(p) = self.peers.get_mut(peer) {
            if let Some(turn) = uninvited {
                p.uploads.credit.add(now, turn, now + WELCOME);
            }
            p.uploads.credit.spend(length);
            p.uploads.comes.learn(true);
            p.uploads.rests = None;
        }
        self.uplink.takes(peer);
        false
    }

    /// Invites as many neighbours as can be served soon.
    pub(super) fn offer(&mut self, now: Instant) {
        if self.pieces.have().is_empty() || !std::mem::take(&mut self.invites.look) {
            return;
        }
        self.let_guests_go(now, |uploads, bytes| uploads.credit.spend(bytes));
        self.review_takers(now);
        let turn = self.turn(now);
        while self.has_room_for_a_turn(now, turn) {
            let Some((piece, peer)) = self.next_offer(now, turn) else { return };
            self.tell_turn(now, peer, turn);
            self.send(now, peer, Message::Suggest(piece.slot()));
            self.invites.invited(now, peer, piece, turn);
            if let Some(p) = self.peers.get_mut(peer) {
                p.uploads.credit.add(now, turn, now + WELCOME);
            }
            self.uplink.takes(peer);
        }
    }

    fn has_room_for_a_turn(&self, now: Instant, turn: u64) -> bool {
        // Other clients ask for much at a time, and get their share whatever is promised to guests.
        let guests = self.takers().filter(|(_, p)| p.g2g.trades() && !p.uploads.is_stuck(now));
        let takes = guests.map(|(key, p)| {
            let credit = p.uploads.credit.left(now);
            // Guests who are not here yet are counted below.
            let to_come = if credit > 0 { self.invites.bytes_of(key) } else { 0 };
            p.uploads.asked() + credit.saturating_sub(to_come)
        });
        let soon = self.uplink_rate(now).map_or(0, |rate| rate.bytes_in(AHEAD));
        let most = (turn + soon).max(LEAST_AHEAD * turn);
        let room = most.checked_sub((self.invites.expected() + 1) * turn);
        // Mostly there is none, and some of the neighbours show it.
        let taken = |taken: u64, takes: u64| taken.checked_add(takes).filter(|taken| Some(*taken) <= room);
        room.is_some() && takes.into_iter().try_fold(0, taken).is_some()
    }

    /// Who is invited next, and to what.
    fn next_offer(&mut self, now: Instant, turn: u64) -> Option<(PieceIndex, PeerKey)> {
        let able = self.peers.iter().filter(|(_, p)| {
            let rests = p.uploads.rests.is_some_and(|until| now < until);
            p.g2g.trades() && p.interested_in_us && !p.choked && !rests && !p.uploads.is_stuck(now)
        });
        let able: Vec<_> = able.collect();
        let least = if able.len() > FEW { OPEN.0 } else { OPEN.1 };
        let promised = OnceCell::new();
        let mut best: Option<(Standing, u32, PieceIndex, PeerKey)> = None;
        for (key, p) in able {
            let turns = p.uploads.asked().div_ceil(turn);
            let open = self.invites.open(key) + usize::try_from(turns).unwrap_or(usize::MAX);
            let lately = || p.uploads.rate.rate(now).bytes_in(LATELY) / turn;
            if open >= least && open - least >= usize::try_from(lately()).unwrap_or(usize::MAX) {
                continue;
            }
            let promised = |piece: PieceIndex| count(promised.get_or_init(|| self.promised()), piece);
            let Some((piece, standing)) = self.standing(p, promised) else { continue };
            let offer = (standing, self.rng.random(), piece, key);
            best = Some(best.map_or(offer, |best| best.min(offer)));
        }
        best.map(|(_, _, piece, peer)| (piece, peer))
    }

    /// Pieces that neighbours will have soon, in order, each as often as there are such neighbours.
    fn promised(&self) -> Vec<PieceIndex> {
        let asked = self.takers().flat_map(|(_, Peer { uploads, .. })| {
            uploads.queue.front().into_iter().chain(uploads.reading.first()).map(|block| block.piece)
        });
        let mut promised: Vec<_> = asked.chain(self.invites.pieces()).collect();
        promised.sort_unstable();
        promised
    }

    /// How much a neighbour needs to be invited, and to which piece: of those that we can give and that it needs next,
    /// the one of which there are fewest copies for its place.
    fn standing(&self, peer: &Peer, promised: impl Fn(PieceIndex) -> u64) -> Option<(PieceIndex, Standing)> {
        let (geometry, have) = (self.pieces.geometry(), self.pieces.have());
        have.first_not_in(&peer.has)?;
        let told = peer.g2g.wants();
        let first = peer.has.first_missing(told.start).unwrap_or(told.start);
        let soon = told.end.saturating_sub(first).max(UNTOLD);
        let next = first..first.saturating_add(soon.saturating_mul(FARTHER)).min(geometry.pieces());
        let gives =
            |piece: &PieceIndex| have.has(*piece) && !peer.has.has(*piece) && !peer.g2g.is_coming(*piece);
        let copies = |piece: &PieceIndex| u64::from(self.pieces.rarity(*piece)) + promised(*piece);
        let everybody = doublings(self.peers.len() as u64);
        let horizon = u64::from(soon) * HORIZON;
        let plenty = |piece: &PieceIndex| {
            let behind = u64::from(piece.number().saturating_sub(first));
            doublings(copies(piece)) + behind * everybody / horizon
        };
        let rarest = geometry.run(next).filter(gives).min_by_key(|piece| (plenty(piece), *piece));
        // Where it can be given nothing of that, anything else is better than nothing.
        let piece = rarest.or_else(|| geometry.all().find(gives))?;
        let bytes = |pieces: u32| u64::from(pieces) * u64::from(geometry.piece_length());
        let copies = copies(&piece);
        let slack = slack(peer, (!told.is_empty()).then(|| bytes(first - told.start)), copies);
        let lacks_first = !geometry.piece(first).is_some_and(|first| gives(&first));
        Some((piece, Standing { slack, lacks_first, has: bytes(peer.has.count()) / MUCH, copies }))
    }
}

/// How long somebody can wait, in [`ALIKE`], who has so many bytes in front of its playhead if it plays, and needs what
/// so many have. Whoever does not pass on what it gets can wait longer.
fn slack(peer: &Peer, ahead: Option<u64>, copies: u64) -> u64 {
    let time = |bytes| peer.g2g.time_of(bytes).or_else(|| UNTOLD_RATE.time_for(bytes)).unwrap_or_default();
    let ahead = ahead.map_or(NEVER, time) + peer.forwarding.handicap();
    let others = OTHERS.as_micros() * u128::from(doublings(copies)) / u128::from(DOUBLING);
    u64::try_from((ahead.as_micros() + others) / ALIKE.as_micros()).unwrap_or(u64::MAX)
}

/// How often one is doubled until there are so many and one, in parts of a [`DOUBLING`].
const fn doublings(copies: u64) -> u64 {
    let many = copies.saturating_add(1);
    let whole = many.ilog2();
    // Between two powers of two a straight line will do.
    whole as u64 * DOUBLING + ((many as u128 * DOUBLING as u128) >> whole) as u64 - DOUBLING
}

/// How often a piece is among these, which are in order.
fn count(pieces: &[PieceIndex], piece: PieceIndex) -> u64 {
    let first = pieces.partition_point(|other| *other < piece);
    pieces[first..].iter().take_while(|other| **other == piece).count() as u64
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{Testbed, config};
    use super::super::turns::LONGEST_TURN;
    use super::super::{Config, Input, PeerKey};
    use crate::metainfo::geometry::BLOCK_LENGTH;
    use crate::rate::ByteRate;
    use crate::time::Duration;
    use crate::wire::g2g::Told;
    use crate::wire::message::{Message, RawBlock};

    const PIECE: u64 = LONGEST_TURN;

    /// A seed that sends two turns a second.
    fn seed() -> Testbed {
        let limited = Config { upload_limit: ByteRate(2 * PIECE), ..config() };
        Testbed::new(limited, PIECE, 100 * PIECE, true)
    }

    /// A viewer that has these pieces, and sends two turns a second.
    fn viewer(has: &[u32]) -> Testbed {
        let limited = Config { upload_limit: ByteRate(2 * PIECE), ..config() };
        let mut bed = Testbed::new(limited, PIECE, 100 * PIECE, false);
        bed.open(0..100 * PIECE);
        let source = bed.connect(true);
        bed.hear(source, Message::HaveNone);
        has.iter().for_each(|index| bed.hear(source, Message::Have(*index)));
        bed.hear(source, Message::Unchoke);
        bed.give_all(source);
        bed.input(Input::Closed { peer: source, hostile: false });
        bed
    }

    /// These become interested at the same moment; there is room for three turns.
    fn all_want_something(bed: &mut Testbed, peers: &[PeerKey]) {
        for peer in peers {
            bed.tells(*peer, &Told { wants: Some(0..40), ..Told::default() });
        }
        all_become_interested(bed, peers);
    }

    fn all_become_interested(bed: &mut Testbed, peers: &[PeerKey]) {
        for peer in peers {
            bed.torrent.handle(bed.now, Input::Message { peer: *peer, message: Message::Interested });
        }
        bed.input(Input::Timeout);
    }

    fn ask(bed: &mut Testbed, peer: PeerKey, index: u32, begin: u32) -> bool {
        let block = RawBlock { index, begin, length: BLOCK_LENGTH };
        let before = bed.said.len();
        bed.hear(peer, Message::Request(block));
        // With a limit that is used up, what is accepted waits.
        !bed.said[before..].contains(&(peer, Message::Reject(block)))
    }

    #[test]
    fn a_seed_gives_each_piece_away_once_before_it_gives_any_twice() {
        let mut bed = seed();
        let guests = [(); 5].map(|()| bed.trader(&[]));
        all_want_something(&mut bed, &guests);
        let mut pieces: Vec<_> = guests.iter().flat_map(|guest| bed.invited(*guest)).collect();
        pieces.sort_unstable();
        assert_eq!(pieces, [0, 1, 2]);
    }

    #[test]
    fn who_is_about_to_stall_is_invited_first() {
        let mut bed = seed();
        let safe = [(); 3].map(|()| bed.trader(&[0, 1, 2, 3, 4, 5, 6, 7]));
        let poor = [(); 3].map(|()| bed.trader(&[0, 9, 10, 11, 12, 13, 14, 15]));
        all_want_something(&mut bed, &[safe, poor].concat());
        assert!(poor.iter().all(|peer| bed.invited(*peer).len() == 1), "{:?}", bed.said);
        assert!(safe.iter().all(|peer| bed.invited(*peer).is_empty()), "{:?}", bed.said);
    }

    /// One who is 2 s from a stall, and five newcomers to whom others can give what they need.
    #[test]
    fn who_needs_what_only_we_have_goes_before_newcomers() {
        let mut bed = seed();
        let ahead: Vec<_> = (0..70).collect();
        let front = bed.trader(&ahead);
        let newcomers: Vec<_> = (0..5).map(|_| bed.trader(&[])).collect();
        // All have what a newcomer needs next.
        for _ in 0..10 {
            bed.trader(&ahead);
        }
        bed.tells(front, &Told { wants: Some(68..80), rate: u32::try_from(PIECE).ok(), ..Told::default() });
        newcomers.iter().for_each(|peer| bed.tells(*peer, &Told { wants: Some(0..10), ..Told::default() }));
        all_become_interested(&mut bed, &[newcomers.as_slice(), &[front]].concat());
        assert!(!bed.invited(front).is_empty(), "{:?}", bed.said);
    }

    #[test]
    fn what_somebody_has_in_front_of_it_is_reckoned_as_time() {
        let mut bed = seed();
        let ten: Vec<_> = (0..10).collect();
        let (slow, fast) = (bed.trader(&ten), [(); 3].map(|()| bed.trader(&ten)));
        let wants =
            |rate: u64| Told { wants: Some(0..40), rate: u32::try_from(rate).ok(), ..Told::default() };
        bed.tells(slow, &wants(PIECE / 4));
        fast.iter().for_each(|peer| bed.tells(*peer, &wants(PIECE * 4)));
        all_become_interested(&mut bed, &[[slow].as_slice(), &fast].concat());
        assert!(bed.invited(slow).is_empty(), "{:?}", bed.said);
        assert!(fast.iter().all(|peer| bed.invited(*peer).len() == 1), "{:?}", bed.said);
    }

    #[test]
    fn who_can_be_given_what_it_lacks_first_goes_before_others() {
        let mut bed = viewer(&[0, 4]);
        let stuck = bed.trader(&[1, 2, 3, 5, 6]);
        let others = [(); 8].map(|()| bed.trader(&[0, 1, 2, 3]));
        all_want_something(&mut bed, &[others.as_slice(), &[stuck]].concat());
        assert!(!bed.invited(stuck).is_empty(), "{:?}", bed.said);
    }

    /// A neighbour that lacks two pieces, of which one of ten neighbours has the later one.
    #[test]
    fn the_sooner_a_piece_is_needed_the_more_copies_of_it_there_should_be() {
        for (copies, invited_to) in [(3, 0), (9, 9)] {
            let mut bed = viewer(&[0, 9]);
            let others = (0..10).map(|n| bed.trader(if n < copies { &[0] } else { &[] }));
            let others: Vec<_> = others.collect();
            others[..3].iter().for_each(|peer| bed.hear(*peer, Message::Have(9)));
            let guest = bed.trader(&[1, 2, 3, 4, 5, 6, 7, 8]);
            all_want_something(&mut bed, &[guest]);
            assert_eq!(bed.invited(guest).first(), Some(&invited_to), "{copies} copies");
        }
    }

    #[test]
    fn nobody_is_invited_to_what_it_is_fetching() {
        let mut bed = seed();
        let guest = bed.trader(&[]);
        bed.tells(guest, &Told { fetching: Some(0), ..Told::default() });
        all_want_something(&mut bed, &[guest]);
        assert_eq!(bed.invited(guest).first(), Some(&1));
    }

    /// Whoever gives it may be slow, or may not give it.
    #[test]
    fn who_has_been_fetching_a_piece_for_long_is_invited_to_it_again() {
        let mut bed = seed();
        let all_but_one: Vec<_> = (1..100).collect();
        let guest = bed.trader(&all_but_one);
        bed.tells(guest, &Told { fetching: Some(0), ..Told::default() });
        all_want_something(&mut bed, &[guest]);
        bed.wait(Duration::from_secs(4));
        assert!(bed.invited(guest).is_empty());
        bed.wait(Duration::from_secs(2));
        assert_eq!(bed.invited(guest).first(), Some(&0));
    }

    #[test]
    fn who_has_no_room_for_a_piece_any_more_is_invited_to_it_again() {
        let mut bed = seed();
        let all: Vec<_> = (0..100).collect();
        let guest = bed.trader(&all);
        bed.tells(guest, &Told { lost: Some(3), ..Told::default() });
        let rarity = [2, 3].map(|n| bed.torrent.pieces.rarity(bed.geometry.piece(n).unwrap()));
        assert_eq!(rarity, [1, 0]);
        all_want_something(&mut bed, &[guest]);
        assert_eq!(bed.invited(guest).first(), Some(&3));
    }

    #[test]
    fn when_one_declines_another_is_invited() {
        let mut bed = seed();
        let guests = [(); 4].map(|()| bed.trader(&[]));
        all_want_something(&mut bed, &guests);
        let (late, invited): (Vec<_>, Vec<_>) =
            guests.into_iter().partition(|guest| bed.invited(*guest).is_empty());
        let declined = u32::try_from(PIECE).ok();
        bed.tells(invited[0], &Told { declined, ..Told::default() });
        assert_eq!(bed.invited(late[0]).len(), 1);
        assert!(!ask(&mut bed, invited[0], 9, 0), "it has said that it will not");
    }

    #[test]
    fn who_sends_little_invites_to_little_and_says_so_once() {
        let limited = Config { upload_limit: ByteRate(PIECE / 4), ..config() };
        let mut bed = Testbed::new(limited, PIECE, 100 * PIECE, true);
        let guests = [(); 4].map(|()| bed.trader(&[]));
        all_want_something(&mut bed, &guests);
        let guest = guests.into_iter().find(|guest| !bed.invited(*guest).is_empty()).unwrap();
        let turn = Told { turn: Some(2 * BLOCK_LENGTH), ..Told::default() };
        assert!(bed.told(guest, &turn), "{:?}", bed.said);
        assert!(ask(&mut bed, guest, 9, 0) && ask(&mut bed, guest, 9, BLOCK_LENGTH));
        assert!(!ask(&mut bed, guest, 9, 2 * BLOCK_LENGTH));
        bed.said.clear();
        bed.wait(Duration::from_secs(10));
        assert!(!bed.invited(guest).is_empty() && !bed.told(guest, &turn), "{:?}", bed.said);
    }

    #[test]
    fn copies_are_weighed_in_doublings() {
        assert_eq!([0, 1, 2, 3, 7].map(super::doublings), [0, 64, 96, 128, 192]);
        assert!((0..1_000).map(super::doublings).is_sorted());
        assert_eq!(super::doublings(u64::MAX), 63 * 64 + 63);
    }

    #[test]
    fn who_was_not_invited_is_turned_down_when_there_is_no_room() {
        let mut bed = seed();
        let guests = [(); 4].map(|()| bed.trader(&[]));
        all_want_something(&mut bed, &guests);
        let (late, invited): (Vec<_>, Vec<_>) =
            guests.into_iter().partition(|guest| bed.invited(*guest).is_empty());
        assert_eq!(late.len(), 1);
        assert!(!ask(&mut bed, late[0], 5, 0));
        // Who was invited may ask for whatever it needs most, and a turn is so long and no longer.
        let blocks = (PIECE / u64::from(BLOCK_LENGTH)) as u32;
        assert!((0..blocks).all(|n| ask(&mut bed, invited[0], 9, n * BLOCK_LENGTH)));
        assert!(!ask(&mut bed, invited[0], 6, 0));
    }

    #[test]
    fn who_does_not_come_is_not_waited_for() {
        let mut bed = seed();
        let guests = [(); 4].map(|()| bed.trader(&[]));
        all_want_something(&mut bed, &guests);
        bed.wait(Duration::from_millis(600));
        assert!(guests.iter().all(|guest| !bed.invited(*guest).is_empty()), "{:?}", bed.said);
    }
}

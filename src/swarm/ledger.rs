//! The ledger: which neighbours pass on what they get, and what becomes of those who do not.
//!
//! # Votes
//!
//! Nobody is asked about itself: who forwarded something is told by those who received it. About once in 45 s everybody
//! names to each neighbour those who gave it 64 KiB or more in the last minute ([`Told::givers`]), by the address at
//! which they can be called. To be named is a *vote*, half of which is forgotten after two minutes. A witness has
//! equally many for each giver, however much it got: those who send little and spread it have as many as those who send
//! much. Whoever praises itself is not heard. Whoever has but one friend has little of it: of one witness counts no
//! more than a sixteenth of what is usual. What a neighbour gave to us is a vote as well, the only one that we have
//! seen ourselves, and counts whole. And those who do not pass on anything are not believed, unless they gave us
//! something in the last ten minutes.
//!
//! # Chances
//!
//! A vote needs somebody to give to. So votes are set against *chances*: how many of our neighbours lack something that
//! a neighbour has, looked at every ten seconds, added up and forgotten like votes. A newcomer has nothing to give, and
//! whoever is behind all others has nothing for them; they are not expected to have votes. (The first minute of a
//! neighbour counts as no chance, as it takes a while until anybody speaks of what it gives.) What is usual is what the
//! best quarter of our neighbours has for each chance.
//!
//! # Handicap
//!
//! Who has a quarter of what is usual is served like all: everybody who gives can watch. Who has less has a *handicap*,
//! a minute if it has nothing: it is [invited](super::offer) as if it could wait so much longer. Where there is enough
//! for all, everybody is a minute ahead, and a handicap makes little difference; where there is not, others come first.
//! So whoever gives nothing lives on what would be left over.
//!
//! Who has nothing to give because it is given nothing is not acquitted: where too little could be expected of somebody
//! its handicap fades like a vote.
//!
//! Nobody can wait for long in a broadcast. There a handicap is a place in the line, in three [steps](Forwarding::waits):
//! who is in an earlier one is [invited](super::invite) first, and what could be given is what is new.
//!
//! Seeds and viewers do the same. Other clients do not take part: they are repaid for what they give (`dues`).
//!
//! # What it shows
//!
//! Thirty viewers and ten cheats of a film of five minutes, where the viewers and the seed can send 1.2 times what all
//! of them play; means of ten seeds (`swarm sim free-riders --seeds 10`, with `--set hosts.free-riders.behaviour=...`).
//! Seconds stalled:
//!
//! | cheats | viewers | cheats | without the ledger |
//! |---|---|---|---|
//! | give nothing | 2.6 | 43.8 | 7.3, and cheats 16.3 |
//! | ... and praise themselves | 2.7 | 42.0 | |
//! | ... and praise each other, in pairs | 2.7 | 42.0 | |
//!
//! Sixty viewers of a broadcast for ten minutes, the source sends it four times, viewers one and a half times, 30 % behind
//! firewalls, and twenty free-riders more; means of two seeds:
//!
//! | | stalled, viewers | stalled, free-riders |
//! |---|---|---|
//! | without the ledger | 2.0 | 1.8 |
//! | with it | 1.9 | 231 |
//! | without, viewers send twice | 0 | 0.2 |
//! | with it, viewers send twice | 0 | 25 |
//!
//! (All that viewers still lose they lose in the first two minutes, before anything is known.)
//!
//! # What it cannot do
//!
//! In a swarm much larger than a neighbourhood two neighbours have few neighbours in common, and there are few votes.
//! Where less than six could be expected nobody has a handicap. Several who praise each other, a fourth of a
//! neighbourhood or so, look like those who give. Who comes again under another port is new. Whoever sends just a
//! little, to many, is taken for somebody who cannot send more.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::RngExt as _;

use super::PeerKey;
use super::peer::Peer;
use super::torrent::Torrent;
use crate::time::{Duration, Instant};
use crate::wire::g2g::{MAX_GIVERS, Told};

/// So many bytes from somebody are worth a vote: a block may be a taste.
const WORTH: u64 = 64 * 1024;
/// Who gave something within this time is named, ...
const LATELY: Duration = Duration::from_secs(60);
/// ... and who gave us something within this time is believed.
const BELIEVED: Duration = Duration::from_secs(600);
/// Each neighbour is told once in this time at most, and once in three quarters of it in the mean.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Chances that a neighbour has sooner do not count: it takes a while until others hear what it gives.
const GRACE: Duration = Duration::from_secs(60);
/// Of a broadcast neighbours can give each other what is not older than this.
const NEW: Duration = Duration::from_secs(15);
/// Who cannot be called is named with this port.
const NOWHERE: u16 = 1;
/// With so many others of those who lack something a neighbour is compared at each round.
const SAMPLE: usize = 8;
/// Parts of a vote, and of a chance.
const WHOLE: u64 = 64;
/// Of votes and chances one part in so many is forgotten from round to round.
const FORGOTTEN: u64 = 16;
/// The most that the votes of one witness add up to: what one has who speaks as often as it should.
const MOST: u64 = 4 * WHOLE;
/// What we got ourselves counts as much at each round.
const OURS: u64 = MOST / FORGOTTEN;
/// Votes for so many chances are what is compared.
const CHANCES: u64 = 1_000;
/// This part of what is usual is enough.
const ENOUGH: u64 = 4;
/// One witness alone has no more than this part of what is usual.
const ALONE: u64 = 16;
/// So many votes are to be expected of somebody at least before it is judged.
const FEWEST: u64 = 6 * WHOLE;
/// Who has no votes can wait so much longer.
const HANDICAP: Duration = Duration::from_secs(60);
/// In a broadcast those whose handicaps differ by less than this pass on equally well.
const STEP: Duration = Duration::from_secs(20);

/// What is known of a neighbour as a giver.
#[derive(Debug, Default)]
pub struct Forwarding {
    /// Bytes that it gave us, less those that were worth a vote.
    gave: u64,
    /// When it had given us something worth a vote last.
    last: Option<Instant>,
    /// The votes of others, by who says so, and ours.
    votes: BTreeMap<PeerKey, u64>,
    ours: u64,
    /// How many neighbours it could have given something, added up like votes.
    chances: u64,
    /// When it is told who gave us something.
    next_tell: Instant,
    /// How much longer it can wait than others.
    handicap: Duration,
}

impl Forwarding {
    /// It gave us something that we had asked for.
    pub fn gave(&mut self, now: Instant, bytes: u64) {
        self.gave += bytes;
        if self.gave >= WORTH {
            self.gave %= WORTH;
            self.last = Some(now);
        }
    }

    /// How much longer it can wait than those who forward.
    pub const fn handicap(&self) -> Duration {
        self.handicap
    }

    /// Where nobody can wait for long, the same in a few steps: nobody is served before those who have fewer.
    pub const fn waits(&self) -> u64 {
        self.handicap.as_secs() / STEP.as_secs()
    }

    /// Whether it gave us something in the time before.
    fn gave_within(&self, now: Instant, time: Duration) -> bool {
        self.last.is_some_and(|last| now - last < time)
    }

    /// Whether its votes count.
    fn is_believed(&self, now: Instant) -> bool {
        self.handicap.is_zero() || self.gave_within(now, BELIEVED)
    }

    /// Somebody says that it gave it something.
    fn vote(&mut self, witness: PeerKey) {
        let votes = self.votes.entry(witness).or_default();
        *votes = (*votes + WHOLE).min(MOST);
    }

    /// A round is over, in which it could have given something to so many.
    fn round(&mut self, now: Instant, could: u64) {
        let fades = |n: &mut u64| *n -= n.div_ceil(FORGOTTEN);
        self.votes.values_mut().for_each(fades);
        self.votes.retain(|_, votes| *votes > 0);
        fades(&mut self.ours);
        fades(&mut self.chances);
        self.ours += if self.gave_within(now, LATELY) { OURS } else { 0 };
        self.chances += could;
    }
}

/// How long somebody can wait longer who has so many votes where so many are usual, and could wait so long before.
fn handicap(votes: u64, usual: u64, before: Duration) -> Duration {
    if votes * ENOUGH >= usual.max(FEWEST) {
        return Duration::ZERO;
    }
    if usual < FEWEST {
        // Who has nothing to give any more, as it is not given anything, has not mended its ways.
        return before - before / FORGOTTEN as u32;
    }
    let lacks = usual - votes * ENOUGH;
    HANDICAP * u32::try_from(lacks * CHANCES / usual).unwrap_or(0) / CHANCES as u32
}

impl Torrent {
    /// A neighbour names those who gave it something.
    pub(super) fn on_givers(&mut self, witness: PeerKey, givers: &[SocketAddr]) {
        for giver in givers {
            let Some(key) = self.names.get(giver).copied().filter(|key| *key != witness) else { continue };
            if let Some(p) = self.peers.get_mut(key) {
                p.forwarding.vote(witness);
            }
        }
    }

    /// A neighbour can be called at this port, or nowhere; what it says first counts.
    pub(super) fn on_listens(&mut self, peer: PeerKey, port: Option<u16>) {
        if let Some(p) = self.peers.get_mut(peer).filter(|p| p.name.is_none()) {
            let name = SocketAddr::new(p.addr.ip().to_canonical(), port.unwrap_or(NOWHERE));
            p.name = Some(name);
            self.names.entry(name).or_insert(peer);
        }
    }

    /// A neighbour has left, and its votes with it.
    pub(super) fn leave_ledger(&mut self, key: PeerKey, peer: &Peer) {
        if let Some(name) = peer.name
            && self.names.get(&name) == Some(&key)
        {
            self.names.remove(&name);
        }
        self.peers.values_mut().for_each(|p| _ = p.forwarding.votes.remove(&key));
    }

    /// Who forwards is reckoned anew, and those whose turn it is are told who gave us something.
    pub(super) fn review_ledger(&mut self, now: Instant) {
        if self.config.policy.is_stock() {
            return;
        }
        self.count_chances(now);
        let usual = self.usual_merit(now);
        let handicaps: Vec<_> = self
            .peers
            .iter()
            .map(|(key, p)| {
                let expected = usual * p.forwarding.chances / CHANCES;
                let before = p.forwarding.handicap;
                (key, handicap(self.votes(now, p, expected / ALONE), expected, before))
            })
            .collect();
        handicaps.into_iter().for_each(|(key, handicap)| self.peers[key].forwarding.handicap = handicap);
        self.tell_givers(now);
    }

    /// Votes for so many chances that the best quarter of our neighbours has.
    fn usual_merit(&self, now: Instant) -> u64 {
        let judged = self.peers.values().filter(|p| p.forwarding.chances > 0);
        let mut merits: Vec<_> =
            judged.map(|p| self.votes(now, p, u64::MAX) * CHANCES / p.forwarding.chances).collect();
        merits.sort_unstable();
        merits.get(merits.len() * 3 / 4).copied().unwrap_or(0)
    }

    /// The votes for a neighbour, of each witness at most so many; what we got ourselves counts as it is.
    fn votes(&self, now: Instant, giver: &Peer, most: u64) -> u64 {
        let believed = |key: &PeerKey| self.peers.get(*key).is_some_and(|p| p.forwarding.is_believed(now));
        let said = giver.forwarding.votes.iter().filter(|(witness, _)| believed(witness));
        said.map(|(_, votes)| (*votes).min(most)).sum::<u64>() + giver.forwarding.ours
    }

    /// Counts for each neighbour how many others it could give something.
    fn count_chances(&mut self, now: Instant) {
        let lack: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, p)| p.g2g.speaks() && !p.has.is_full())
            .map(|(key, _)| key)
            .collect();
        let from = if lack.is_empty() { 0 } else { self.rng.random_range(0..lack.len()) };
        let could: Vec<_> = self
            .peers
            .iter()
            .enumerate()
            .map(|(i, (key, p))| {
                let others = (0..SAMPLE.min(lack.len()))
                    .map(|n| lack[(from + i + n) % lack.len()])
                    .filter(|other| *other != key);
                let (all, could) = others.fold((0u64, 0u64), |(all, could), other| {
                    (all + 1, could + u64::from(self.could_give(p, &self.peers[other])))
                });
                (key, (lack.len() as u64 * could).checked_div(all).unwrap_or(0))
            })
            .collect();
        for (key, could) in could {
            let p = &mut self.peers[key];
            let could = if now - p.since < GRACE { 0 } else { could };
            p.forwarding.round(now, could);
        }
    }

    /// Whether a neighbour has something that another one lacks: of a broadcast, something new. (What is older everybody
    /// has who wants it.)
    fn could_give(&self, giver: &Peer, other: &Peer) -> bool {
        let Some(live) = &self.live else { return giver.has.first_not_in(&other.has).is_some() };
        let exist = self.pieces.exist();
        let new = exist.end.saturating_sub(live.rate.pieces_in(NEW))..exist.end;
        self.pieces.geometry().run(new).any(|piece| giver.has.has(piece) && !other.has.has(piece))
    }

    /// Those whose turn it is hear who gave us something.
    fn tell_givers(&mut self, now: Instant) {
        let givers = self.peers.values().filter(|p| p.forwarding.gave_within(now, LATELY));
        let givers: Vec<_> = givers.filter_map(|p| p.name).take(MAX_GIVERS).collect();
        if givers.is_empty() {
            return;
        }
        let payload = Told { givers, ..Told::default() }.encode();
        let due = |p: &Peer| p.g2g.speaks() && now >= p.forwarding.next_tell;
        let due: Vec<_> = self.peers.iter().filter(|(_, p)| due(p)).map(|(key, _)| key).collect();
        for peer in due {
            // Spread, as many may have come at once.
            self.peers[peer].forwarding.next_tell = now + TELL_EVERY * self.rng.random_range(50..100) / 100;
            self.tell_g2g(now, peer, payload.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{Testbed, config};
    use super::super::torrent::Torrent;
    use super::*;
    use crate::wire::message::Message;

    const PIECE: u64 = 64 * 1024;

    /// A seed with so many neighbours, each of which has a piece that the others lack.
    fn seed(neighbours: u32) -> (Testbed, Vec<PeerKey>) {
        let mut bed = Testbed::new(config(), PIECE, 100 * PIECE, true);
        let peers = (0..neighbours).map(|n| bed.trader(&[n])).collect();
        (bed, peers)
    }

    fn name(torrent: &Torrent, peer: PeerKey) -> SocketAddr {
        torrent.peers[peer].name.expect("it told its port")
    }

    /// Some minutes in which each of these names those whom `gave` says.
    fn minutes(bed: &mut Testbed, peers: &[PeerKey], gave: impl Fn(usize, usize) -> bool) {
        for _ in 0..10 {
            for (n, witness) in peers.iter().enumerate() {
                let givers = peers.iter().enumerate().filter(|(giver, _)| gave(*giver, n));
                let givers = givers.map(|(_, giver)| name(&bed.torrent, *giver)).collect();
                bed.tells(*witness, &Told { givers, ..Told::default() });
            }
            bed.wait(Duration::from_secs(45));
        }
    }

    fn handicaps(bed: &Testbed, peers: &[PeerKey]) -> Vec<u64> {
        peers.iter().map(|peer| bed.torrent.peers[*peer].forwarding.handicap().as_secs()).collect()
    }

    #[test]
    fn who_gives_nothing_waits_and_who_gives_little_does_not() {
        let (mut bed, peers) = seed(12);
        // The eleventh gives to four, the last one to nobody, the others to all.
        minutes(&mut bed, &peers, |giver, to| giver < 10 || giver == 10 && to < 4);
        assert_eq!(handicaps(&bed, &peers), [[0; 11].as_slice(), &[60]].concat());
    }

    #[test]
    fn praising_oneself_or_a_friend_is_of_little_use() {
        let (mut bed, peers) = seed(12);
        minutes(&mut bed, &peers, |giver, to| match (giver, to) {
            (9, 9) => true,
            (10, 11) | (11, 10) => true,
            (giver, to) => giver < 9 && to < 9,
        });
        let handicaps = handicaps(&bed, &peers);
        assert_eq!(handicaps[..9], [0; 9]);
        assert!(handicaps[9] == 60 && handicaps[10..].iter().all(|handicap| *handicap > 40), "{handicaps:?}");
    }

    #[test]
    fn nobody_is_judged_who_had_nobody_to_give_to() {
        let (mut bed, mut peers) = seed(8);
        peers.push(bed.trader(&[]));
        minutes(&mut bed, &peers, |giver, _| giver < 8);
        assert_eq!(handicaps(&bed, &peers), [0; 9]);
    }

    #[test]
    fn nobody_is_judged_where_little_is_known() {
        let (mut bed, peers) = seed(12);
        minutes(&mut bed, &peers, |giver, to| giver == 0 && to == 1);
        assert_eq!(handicaps(&bed, &peers), [0; 12]);
    }

    /// It is given little, so it has little to give; then it would be given much again.
    #[test]
    fn who_has_nothing_left_to_give_as_it_gave_nothing_is_not_acquitted() {
        let (mut bed, peers) = seed(12);
        minutes(&mut bed, &peers, |giver, _| giver < 11);
        assert_eq!(handicaps(&bed, &peers)[11], 60);
        peers.iter().for_each(|peer| bed.hear(*peer, Message::Have(11)));
        minutes(&mut bed, &peers, |giver, _| giver < 11);
        let handicap = handicaps(&bed, &peers)[11];
        assert!((5..60).contains(&handicap), "{handicap}");
    }

    #[test]
    fn of_a_broadcast_who_passes_on_nothing_is_invited_last() {
        let mut bed = Testbed::live(400, true);
        let peers: Vec<_> = (0..3).map(|_| bed.connect(true)).collect();
        for peer in &peers {
            bed.hear(*peer, Message::HaveNone);
            bed.hear(*peer, Message::Interested);
        }
        bed.torrent.peers[peers[0]].forwarding.handicap = HANDICAP;
        let stamp = Box::new(bed.sign(5));
        bed.input(super::super::Input::Captured { stamp });
        let invited = bed.said.iter().filter(|(_, said)| matches!(said, Message::Suggest(_)));
        let guests: Vec<_> = invited.map(|(peer, _)| *peer).collect();
        assert!(guests.len() == 3 && guests[2] == peers[0], "{guests:?}");
    }

    #[test]
    fn who_leaves_takes_its_name_and_its_votes_with_it() {
        let (mut bed, peers) = seed(3);
        minutes(&mut bed, &peers, |_, _| true);
        assert_eq!(bed.torrent.peers[peers[0]].forwarding.votes.len(), 2);
        bed.input(super::super::Input::Closed { peer: peers[1], hostile: false });
        assert_eq!(bed.torrent.peers[peers[0]].forwarding.votes.len(), 1);
        assert_eq!(bed.torrent.names.len(), 2);
    }

    #[test]
    fn neighbours_hear_who_gave_us_something() {
        let mut bed = Testbed::new(config(), PIECE, 100 * PIECE, false);
        let (giver, other) = (bed.trader(&[5]), bed.trader(&[6]));
        bed.open(0..100 * PIECE);
        bed.hear(giver, Message::Suggest(5));
        bed.give_all(giver);
        bed.wait(Duration::from_secs(11));
        let told = Told { givers: vec![name(&bed.torrent, giver)], ..Told::default() };
        assert!(bed.told(other, &told), "{:?}", bed.said);
    }
}

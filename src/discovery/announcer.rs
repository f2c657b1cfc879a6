//! The announcer: tells a torrent's trackers that we are here and hears of peers (BEP 3, 7, 12, 15, 27, 31).
//!
//! Sans-IO, with the shape of the engine: [`Announcer::handle`] takes what happened, [`Announcer::poll`] is
//! drained until it says [`Output::Wait`]. The driver carries out every [`Output::Send`] and reports it as
//! [`Input::Answered`] or [`Input::Failed`], in any order; each is answered once, or its tracker is not asked again.
//!
//! - The best tracker of **each** tier is asked at the same time, so that a dead first tier delays nothing. A
//!   private torrent's trackers are asked one after the other instead: its tracker may count our traffic twice
//!   when it hears of it twice, and BEP 27 wants us to stay with one.
//! - `started` is the first thing that a tracker hears; `completed` goes once to each that knew us incomplete;
//!   `stopped` to all that may have heard `started`.
//! - A refusal is taken seriously: a minute's rest at least, or what the tracker says (BEP 31).

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

pub use super::standing::{Failure, TrackerStatus};
use super::tier::{Tier, TrackerIndex};
use crate::time::Instant;
use crate::wire::announce::{AnnounceEvent, AnnounceRequest, AnnounceResponse};
use crate::wire::ids::{InfoHash, PeerId};

/// Most trackers of one torrent; more are not looked at.
pub const MAX_TRACKERS: usize = 100;
/// Longest URL of a tracker; longer ones are not looked at.
pub const MAX_URL: usize = 2_048;
/// Most peers asked for at once.
pub const MAX_NUM_WANT: u32 = 200;
/// What is said to every tracker.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which swarm.
    pub info_hash: InfoHash,
    /// Who we are.
    pub peer_id: PeerId,
    /// Where we listen.
    pub port: u16,
    /// Our proof of identity to trackers, random for a run.
    pub key: u32,
    /// A private torrent (BEP 27): one tracker at a time.
    pub private: bool,
    /// A broadcast that we watch: its tracker most likely is its source, whose return is waited for.
    pub eager: bool,
}

/// Payload bytes so far.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Sent.
    pub uploaded: u64,
    /// Received.
    pub downloaded: u64,
    /// Still missing of the whole torrent.
    pub left: u64,
}

/// Which announce an answer belongs to.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The tracker's index, as in [`Announcer::trackers`].
    pub tracker: TrackerIndex,
    serial: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The time of [`Output::Wait`] has come.
    Timeout,
    /// New figures, to be told with the next announce; `left` of 0 for the first time is news at once.
    Figures(Figures),
    /// How many more peers the engine could use; 0 when it has enough.
    Want(u32),
    /// A tracker answered.
    Answered {
        /// The announce.
        ticket: Ticket,
        /// The answer.
        response: AnnounceResponse,
    },
    /// A tracker did not answer, or not well.
    Failed {
        /// The announce.
        ticket: Ticket,
        /// Why.
        failure: Failure,
    },
    /// We leave: say goodbye to every tracker that knows us.
    Stop,
}

/// What shall happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nothing before this time.
    Wait(Instant),
    /// Announce this.
    Send {
        /// To be given back with the outcome.
        ticket: Ticket,
        /// The tracker.
        url: Arc<str>,
        /// What to say.
        request: AnnounceRequest,
    },
    /// Addresses that a tracker named, never empty.
    Peers(Vec<SocketAddr>),
    /// [`Announcer::summary`] says something else than before.
    Changed,
    /// Goodbye has been said (or could not be): nothing follows.
    Stopped,
}

/// How the trackers answer, for a status line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Trackers asked so far.
    pub asked: usize,
    /// Those that answered at least once.
    pub answered: usize,
    /// The last failure of one that never answered, fit for print.
    pub failure: Option<String>,
}

/// The machine.
#[derive(Debug)]
pub struct Announcer {
    config: Config,
    tiers: Vec<Tier>,
    trackers: Vec<TrackerStatus>,
    figures: Figures,
    want: u32,
    serial: u64,
    stopping: bool,
    outputs: VecDeque<Output>,
    reported: Summary,
    now: Instant,
    rng: Pcg64,
}

impl Announcer {
    /// Starts announcing. Of the tiers' URLs those that cannot be asked (other schemes than `http`, `https` and
    /// `udp`, too long, repeated, too many) are left out.
    pub fn new(config: Config, tiers: &[Vec<String>], figures: Figures, now: Instant, seed: u64) -> Self {
        let mut this = Self {
            config,
            tiers: Vec::new(),
            trackers: Vec::new(),
            figures,
            want: MAX_NUM_WANT,
            serial: 0,
            stopping: false,
            outputs: VecDeque::new(),
            reported: Summary::default(),
            now,
            rng: Pcg64::seed_from_u64(seed),
        };
        this.add_tiers(tiers);
        this.advance();
        this
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = now;
        match input {
            Input::Timeout => {}
            Input::Figures(figures) => self.figures = figures,
            Input::Want(want) => self.want = want,
            Input::Answered { ticket, response } => self.on_answered(ticket, response),
            Input::Failed { ticket, failure } => self.on_failed(ticket, failure),
            Input::Stop => self.on_stop(),
        }
        self.advance();
    }

    /// What shall happen next; to be called until it says [`Output::Wait`].
    pub fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Wait(self.deadline()))
    }

    /// How the trackers answer.
    pub fn summary(&self) -> Summary {
        let asked = self.trackers.iter().filter(|t| t.asked);
        let silent = asked.clone().filter(|t| !t.answered);
        Summary {
            asked: asked.clone().count(),
            answered: asked.filter(|t| t.answered).count(),
            failure: silent.filter_map(|t| Some(format!("{}: {}", t.name, t.failure.as_ref()?))).next_back(),
        }
    }

    /// Each tracker's standing, in the order of the torrent's tiers as shuffled at the start.
    pub fn trackers(&self) -> &[TrackerStatus] {
        &self.trackers
    }

    /// When a tier asks again, for a status line.
    pub fn next_announce(&self, tier: usize) -> Option<Instant> {
        self.tiers.get(tier).filter(|_| !self.stopping).map(|t| self.due(t))
    }

    fn add_tiers(&mut self, tiers: &[Vec<String>]) {
        let mut seen = BTreeSet::new();
        let Config { private, eager, .. } = self.config;
        for urls in tiers {
            let mut urls: Vec<_> =
                urls.iter().map(|url| url.trim()).filter(|url| can_be_asked(url)).collect();
            urls.shuffle(&mut self.rng);
            let start = self.trackers.len();
            for url in urls {
                if self.trackers.len() < MAX_TRACKERS && seen.insert(url) {
                    let tier = if private { 0 } else { self.tiers.len() };
                    self.trackers.push(TrackerStatus::new(url, tier, eager));
                }
            }
            if !private && self.trackers.len() > start {
                self.tiers.push(Tier::new((start..self.trackers.len()).collect(), true, eager));
            }
        }
        if private && !self.trackers.is_empty() {
            self.tiers.push(Tier::new((0..self.trackers.len()).collect(), false, eager));
        }
    }

    fn due(&self, tier: &Tier) -> Instant {
        let best = tier.order().first().map(|t| &self.trackers[*t]);
        let urgent = best.is_some_and(|t| {
            t.is_free(self.now, self.figures.left) && t.event(self.figures.left) == AnnounceEvent::Completed
        });
        tier.due(self.want > 0, urgent)
    }

    fn deadline(&self) -> Instant {
        if self.stopping {
            return Instant::FAR_FUTURE;
        }
        self.tiers.iter().map(|tier| self.due(tier)).min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Does what is due.
    fn advance(&mut self) {
        if !self.stopping {
            for tier in 0..self.tiers.len() {
                if self.due(&self.tiers[tier]) <= self.now {
                    let hungry = self.want > 0;
                    self.tiers[tier].begin(self.now, hungry);
                    self.ask_next(tier);
                }
            }
        }
        let summary = self.summary();
        if summary != self.reported {
            self.reported = summary;
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Asks the next tracker of a tier's round, or ends the round when there is none and nobody is waited for.
    fn ask_next(&mut self, tier: usize) {
        let (trackers, now, left) = (&self.trackers, self.now, self.figures.left);
        let free = |t: TrackerIndex| trackers[t].is_free(now, left);
        if let Some(tracker) = self.tiers[tier].next(now, free) {
            self.send(tracker);
            return;
        }
        let order = self.tiers[tier].order().iter().map(|t| &trackers[*t]);
        if order.clone().all(|t| !t.is_under_way()) {
            let willing = order.map(|t| t.free_at(left)).min().unwrap_or(Instant::FAR_FUTURE);
            self.tiers[tier].on_failure(now, willing, &mut self.rng);
        }
    }

    fn send(&mut self, tracker: TrackerIndex) {
        let status = &mut self.trackers[tracker];
        let Figures { uploaded, downloaded, left } = self.figures;
        let (event, num_want) = match self.stopping {
            true => (AnnounceEvent::Stopped, 0),
            false => (status.event(left), self.want.min(MAX_NUM_WANT)),
        };
        self.serial += 1;
        status.on_sent(self.now, self.serial, left);
        let request = AnnounceRequest {
            info_hash: self.config.info_hash,
            peer_id: self.config.peer_id,
            port: self.config.port,
            uploaded,
            downloaded,
            left,
            event,
            key: Some(self.config.key),
            num_want: Some(num_want),
            tracker_id: status.tracker_id(),
        };
        let ticket = Ticket { tracker, serial: self.serial };
        self.outputs.push_back(Output::Send { ticket, url: status.url.clone(), request });
    }

    /// The tracker of an announce that is still waited for, which it is not any more, and whether that announce
    /// said that nothing is left.
    fn redeem(&mut self, ticket: Ticket) -> Option<(&mut TrackerStatus, bool)> {
        let tracker = self.trackers.get_mut(ticket.tracker)?;
        let complete = tracker.redeem(ticket.serial)?;
        Some((tracker, complete))
    }

    fn on_answered(&mut self, ticket: Ticket, response: AnnounceResponse) {
        let Some((tracker, complete)) = self.redeem(ticket) else { return };
        tracker.on_answered(complete, &response);
        let tier = tracker.tier;
        if self.stopping {
            return self.finish_if_said();
        }
        self.tiers[tier].on_answer(self.now, ticket.tracker, &response);
        let peers: Vec<_> = response.peers.iter().map(|p| canonical(p.addr)).collect();
        if !peers.is_empty() {
            self.outputs.push_back(Output::Peers(peers));
        }
    }

    fn on_failed(&mut self, ticket: Ticket, failure: Failure) {
        let now = self.now;
        let Some((tracker, _)) = self.redeem(ticket) else { return };
        tracker.on_failed(now, failure);
        let tier = tracker.tier;
        if self.stopping {
            return self.finish_if_said();
        }
        if self.tiers[tier].is_asking() {
            self.ask_next(tier);
        }
    }

    /// Announces under way are given up; their answers will be ignored.
    fn on_stop(&mut self) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        for tracker in 0..self.trackers.len() {
            if self.trackers[tracker].give_up() {
                self.send(tracker);
            }
        }
        self.finish_if_said();
    }

    fn finish_if_said(&mut self) {
        if self.trackers.iter().all(|t| !t.is_under_way()) {
            self.outputs.push_back(Output::Stopped);
        }
    }
}

fn can_be_asked(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    url.len() <= MAX_URL && scheme.is_some_and(|s| ["http", "https", "udp"].contains(&&*s))
}

/// An IPv4 address written in IPv6 form is one and the same peer.
const fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::time::Duration;
    use crate::wire::announce::{Refusal, RetryIn, TrackedPeer};

    /// How a made tracker behaves; what is not in the world answers at once.
    #[derive(Clone, Debug)]
    enum Tracker {
        Answers {
            after: u64,
            response: AnnounceResponse,
        },
        Fails,
        /// Nothing for this many seconds, then the driver gives up.
        Silent(u64),
        Refuses(Option<RetryIn>),
    }

    /// Made trackers and a made clock around an announcer.
    struct World {
        announcer: Announcer,
        now: Instant,
        trackers: BTreeMap<&'static str, Tracker>,
        pending: Vec<(Instant, Input)>,
        /// Second, URL, request of each announce.
        sent: Vec<(u64, String, AnnounceRequest)>,
        peers: Vec<SocketAddr>,
        changes: usize,
        stopped: usize,
    }

    fn config() -> Config {
        let (info_hash, peer_id) = (InfoHash([1; 20]), PeerId([2; 20]));
        Config { info_hash, peer_id, port: 6881, key: 9, private: false, eager: false }
    }

    fn response(interval: u64, min: Option<u64>) -> AnnounceResponse {
        AnnounceResponse {
            interval: Duration::from_secs(interval),
            min_interval: min.map(Duration::from_secs),
            peers: vec![TrackedPeer { addr: "[::ffff:10.0.0.1]:1".parse().unwrap(), id: None }],
            ..AnnounceResponse::default()
        }
    }

    fn answers(interval: u64) -> Tracker {
        Tracker::Answers { after: 0, response: response(interval, None) }
    }

    const INCOMPLETE: Figures = Figures { uploaded: 0, downloaded: 0, left: 100 };
    const COMPLETE: Figures = Figures { uploaded: 5, downloaded: 100, left: 0 };

    impl World {
        fn new(
            config: Config,
            tiers: &[&[&str]],
            figures: Figures,
            trackers: &[(&'static str, Tracker)],
        ) -> Self {
            let tiers: Vec<_> = tiers.iter().map(|t| t.iter().map(|u| (*u).to_owned()).collect()).collect();
            let announcer = Announcer::new(config, &tiers, figures, Instant::ZERO, 3);
            let trackers = trackers.iter().cloned().collect();
            let (pending, sent, peers) = (Vec::new(), Vec::new(), Vec::new());
            Self { announcer, now: Instant::ZERO, trackers, pending, sent, peers, changes: 0, stopped: 0 }
        }

        fn open(tiers: &[&[&str]], trackers: &[(&'static str, Tracker)]) -> Self {
            Self::new(config(), tiers, INCOMPLETE, trackers)
        }

        fn say(&mut self, input: Input) {
            self.announcer.handle(self.now, input);
        }

        /// Everything until this second.
        fn run(&mut self, until: u64) {
            let until = Instant::from_secs(until);
            loop {
                let wait = self.drain();
                self.pending.sort_by_key(|(at, _)| *at);
                let next = self.pending.first().map_or(wait, |(at, _)| wait.min(*at));
                assert!(next >= self.now, "a deadline in the past would spin");
                if next > until {
                    self.now = until;
                    return;
                }
                self.now = next;
                let due = self.pending.first().is_some_and(|(at, _)| *at <= next);
                let input = if due { self.pending.remove(0).1 } else { Input::Timeout };
                self.say(input);
            }
        }

        fn drain(&mut self) -> Instant {
            loop {
                match self.announcer.poll() {
                    Output::Wait(at) => return at.max(self.now),
                    Output::Send { ticket, url, request } => self.on_send(ticket, &url, request),
                    Output::Peers(peers) => self.peers.extend(peers),
                    Output::Changed => self.changes += 1,
                    Output::Stopped => self.stopped += 1,
                }
            }
        }

        fn on_send(&mut self, ticket: Ticket, url: &str, request: AnnounceRequest) {
            self.sent.push((self.now.micros() / 1_000_000, url.to_owned(), request));
            assert!(self.sent.len() < 10_000, "announces without end");
            let failed = |failure| Input::Failed { ticket, failure };
            let (after, outcome) = match self.trackers.get(url).cloned().unwrap_or_else(|| answers(1_800)) {
                Tracker::Answers { after, response } => (after, Input::Answered { ticket, response }),
                Tracker::Fails => (0, failed(Failure::Unreachable("connection refused".to_owned()))),
                Tracker::Silent(after) => (after, failed(Failure::Unreachable("timed out".to_owned()))),
                Tracker::Refuses(retry) => {
                    (0, failed(Failure::Refused(Refusal { reason: "no\x1b".to_owned(), retry })))
                }
            };
            self.pending.push((self.now + Duration::from_secs(after), outcome));
        }

        fn times(&self) -> Vec<u64> {
            self.sent.iter().map(|(at, ..)| *at).collect()
        }

        fn events(&self, url: &str) -> Vec<AnnounceEvent> {
            let sent = self.sent.iter().filter(|(_, u, _)| u == url);
            sent.map(|(_, _, request)| request.event).collect()
        }
    }

    use AnnounceEvent::{Completed, Interval, Started, Stopped};

    #[test]
    fn the_interval_is_kept_when_there_are_peers_enough() {
        let mut w = World::open(&[&["http://a/announce"]], &[("http://a/announce", answers(600))]);
        w.say(Input::Want(0));
        w.run(1_900);
        assert_eq!(w.times(), [0, 600, 1_200, 1_800]);
        assert_eq!(w.events("http://a/announce"), [Started, Interval, Interval, Interval]);
        assert_eq!(w.peers[0], "10.0.0.1:1".parse().unwrap());
        assert_eq!(w.announcer.summary(), Summary { asked: 1, answered: 1, failure: None });
    }

    #[test]
    fn short_of_peers_it_asks_early_but_ever_more_seldom_and_respects_the_minimum() {
        for (min, times) in [
            (None, [0, 120, 360, 840, 1_800]),
            (Some(10), [0, 15, 45, 105, 225]),
            (Some(60), [0, 60, 180, 420, 900]),
            (Some(300), [0, 300, 900, 2_100, 3_900]),
        ] {
            let tracker = Tracker::Answers { after: 0, response: response(1_800, min) };
            let mut w = World::open(&[&["http://a/announce"]], &[("http://a/announce", tracker)]);
            w.say(Input::Want(30));
            w.run(3_900);
            assert_eq!(w.times()[..5], times);
            assert_eq!(w.sent[1].2.num_want, Some(30));
        }
    }

    #[test]
    fn a_short_interval_is_taken_as_it_is_and_an_absurd_one_is_not() {
        let mut w = World::open(&[&["http://a/announce"]], &[("http://a/announce", answers(10))]);
        w.run(30);
        assert_eq!(w.times(), [0, 10, 20, 30]);
        let mut w = World::open(&[&["http://a/announce"]], &[("http://a/announce", answers(0))]);
        w.run(12);
        assert_eq!(w.times(), [0, 5, 10]);
        let mut w = World::open(&[&["http://a/announce"]], &[("http://a/announce", answers(u64::MAX))]);
        w.say(Input::Want(0));
        w.run(22_000);
        assert_eq!(w.times(), [0, 21_600]);
    }

    #[test]
    fn a_dead_first_tier_delays_nothing() {
        let tiers: &[&[&str]] = &[&["udp://dead:1"], &["http://b/announce"]];
        let mut w = World::open(tiers, &[("udp://dead:1", Tracker::Silent(60))]);
        w.run(0);
        assert_eq!(w.peers.len(), 1);
        assert_eq!(w.announcer.summary(), Summary { asked: 2, answered: 1, failure: None });
        w.run(60);
        assert_eq!(w.announcer.summary().failure.as_deref(), Some("udp://dead:1: timed out"));
    }

    #[test]
    fn a_silent_tracker_is_hedged_and_the_one_that_answers_is_the_first_from_then_on() {
        let urls = ["udp://a:1", "udp://b:1", "udp://c:1", "udp://d:1"];
        let silent = |url| (url, Tracker::Silent(50));
        let (a, b, c) = (silent(urls[0]), silent(urls[1]), silent(urls[2]));
        let mut w = World::open(&[&urls], &[a, b, c, ("udp://d:1", answers(600))]);
        w.say(Input::Want(0));
        w.run(20);
        let place = w.sent.iter().position(|(_, url, _)| url == urls[3]).unwrap();
        assert_eq!(w.sent.len(), place + 1, "nobody is asked once one has answered");
        assert_eq!(w.times(), [0, 3, 6, 9][..=place]);
        w.run(1_300);
        assert!(w.sent[place + 1..].iter().all(|(_, url, _)| url == urls[3]));
        assert_eq!(w.times()[place + 1..], [3 * place as u64 + 600, 3 * place as u64 + 1_200]);
    }

    #[test]
    fn failures_go_through_the_tier_at_once_and_then_wait_longer_each_time() {
        let dead = [("http://a/x", Tracker::Fails), ("http://b/x", Tracker::Fails)];
        let mut w = World::open(&[&["http://a/x", "http://b/x"]], &dead);
        w.run(20_000);
        let times = w.times();
        let rounds: Vec<_> = times.chunks(2).map(|pair| pair[0]).collect();
        assert!(times.chunks(2).all(|pair| pair.len() == 2 && pair[0] == pair[1]));
        let waits: Vec<_> = rounds.windows(2).map(|w| w[1] - w[0]).collect();
        for (i, wait) in waits.iter().enumerate() {
            let base = (5 << i.min(16)).min(1_800);
            assert!((base..=base + base / 4 + 1).contains(wait), "{wait} of {base}");
        }
        assert!(waits.len() > 12);
        assert!(w.events("http://a/x").iter().all(|e| *e == Started), "nobody has heard it yet");
    }

    #[test]
    fn the_tracker_of_a_broadcast_is_asked_again_every_other_second_and_later_every_ten() {
        let eager = Config { eager: true, ..config() };
        let mut w = World::new(eager, &[&["http://a/x"]], INCOMPLETE, &[("http://a/x", Tracker::Fails)]);
        w.run(600);
        let times = w.times();
        let pauses: Vec<_> = times.windows(2).map(|w| (w[0], w[1] - w[0])).collect();
        for (at, pause) in &pauses {
            let (least, most) = if *at < 20 { (1, 2) } else { (1, 10) };
            assert!((least..=most).contains(pause), "{pause} at {at}");
        }
        assert!(pauses.last().is_some_and(|(_, pause)| *pause >= 5) && times.len() < 200, "{pauses:?}");
        w.trackers.insert("http://a/x", answers(600));
        w.say(Input::Want(0));
        w.run(1_500);
        let after = w.times().split_off(times.len());
        assert!(after[0] <= 610 && after[1] == after[0] + 600, "{after:?}");
    }

    #[test]
    fn a_tracker_that_comes_back_hears_started_and_the_backoff_is_forgotten() {
        let mut w = World::open(&[&["http://a/x"]], &[("http://a/x", Tracker::Fails)]);
        w.say(Input::Want(0));
        w.run(100);
        let failed = w.sent.len();
        w.trackers.insert("http://a/x", answers(600));
        w.run(500);
        assert_eq!(w.events("http://a/x")[failed..], [Started]);
        w.trackers.insert("http://a/x", Tracker::Fails);
        w.run(1_200);
        let gap = w.times().windows(2).map(|w| w[1] - w[0]).nth(failed + 1).unwrap();
        assert!(gap <= 7, "{gap}");
        assert_eq!(w.events("http://a/x")[failed + 1], Interval);
    }

    #[test]
    fn completed_is_told_once_at_once_and_not_by_who_began_complete() {
        let url = "http://a/x";
        let mut w = World::open(&[&[url]], &[]);
        w.run(100);
        w.say(Input::Figures(COMPLETE));
        w.run(101);
        assert_eq!(w.events(url), [Started, Completed]);
        assert_eq!(w.sent[1].0, 100);
        assert_eq!((w.sent[1].2.left, w.sent[1].2.downloaded, w.sent[1].2.uploaded), (0, 100, 5));
        w.run(5_000);
        assert!(w.events(url)[2..].iter().all(|e| *e == Interval));
        let mut w = World::new(config(), &[&[url]], COMPLETE, &[]);
        w.run(3_000);
        assert!(w.events(url)[1..].iter().all(|e| *e == Interval));
    }

    #[test]
    fn completed_waits_for_an_announce_under_way_and_is_repeated_when_it_fails() {
        let url = "http://a/x";
        let slow = Tracker::Answers { after: 4, response: response(600, None) };
        let mut w = World::open(&[&[url]], &[(url, slow)]);
        w.run(1);
        w.say(Input::Figures(COMPLETE));
        w.run(3);
        assert_eq!(w.events(url), [Started]);
        w.trackers.insert(url, Tracker::Fails);
        w.run(5);
        assert_eq!(w.events(url), [Started, Completed]);
        w.trackers.insert(url, answers(600));
        w.run(15);
        assert_eq!(w.events(url), [Started, Completed, Completed]);
    }

    #[test]
    fn stopped_goes_to_all_that_may_know_us_and_to_nobody_else() {
        let tiers: &[&[&str]] = &[&["http://a/x"], &["udp://slow:1"], &["http://refuses/x"], &["http://b/x"]];
        let slow = ("udp://slow:1", Tracker::Silent(40));
        let mut w = World::open(tiers, &[slow, ("http://refuses/x", Tracker::Refuses(None))]);
        w.run(10);
        w.trackers.insert("http://b/x", Tracker::Fails);
        w.trackers.insert("udp://slow:1", Tracker::Silent(2));
        let before = w.sent.len();
        w.say(Input::Stop);
        w.say(Input::Stop);
        w.run(11);
        let urls: Vec<_> = w.sent[before..].iter().map(|(_, url, _)| url.as_str()).collect();
        assert_eq!(urls, ["http://a/x", "udp://slow:1", "http://b/x"]);
        assert!(w.sent[before..].iter().all(|(_, _, r)| r.event == Stopped && r.num_want == Some(0)));
        assert_eq!(w.stopped, 0, "one has not answered yet");
        w.run(100_000);
        assert_eq!((w.stopped, w.sent.len()), (1, before + 3), "no announce after goodbye");
    }

    #[test]
    fn without_trackers_there_is_nothing_to_do_and_nothing_to_stop() {
        let mut w = World::open(&[&["wss://a", "ftp://b/c", "nonsense"], &[]], &[]);
        w.run(1_000);
        assert_eq!((w.sent.len(), w.announcer.poll()), (0, Output::Wait(Instant::FAR_FUTURE)));
        w.say(Input::Stop);
        w.run(1_000);
        assert_eq!(w.stopped, 1);
    }

    #[test]
    fn a_refusal_is_respected_for_as_long_as_the_tracker_says() {
        let minutes = |n: u64| Some(RetryIn::After(Duration::from_secs(60 * n)));
        for (retry, second) in [
            (None, Some(60)),
            (minutes(0), Some(60)),
            (minutes(20), Some(1_200)),
            (Some(RetryIn::Never), None),
        ] {
            let mut w = World::open(&[&["http://a/x"]], &[("http://a/x", Tracker::Refuses(retry))]);
            w.run(1_300);
            assert_eq!(w.times().get(1).copied(), second);
            assert_eq!(w.announcer.summary().failure.as_deref(), Some("http://a: no\\u{1b}"));
        }
    }

    #[test]
    fn a_private_torrent_asks_one_tracker_at_a_time_and_stays_with_it() {
        let private = Config { private: true, ..config() };
        let tiers: &[&[&str]] = &[&["http://a/x"], &["http://b/x"], &["http://c/x"]];
        let slow = ("http://a/x", Tracker::Silent(20));
        let mut w = World::new(private, tiers, INCOMPLETE, &[slow]);
        w.say(Input::Want(0));
        w.run(3_700);
        let urls: Vec<_> = w.sent.iter().map(|(at, url, _)| (*at, url.as_str())).collect();
        let (a, b) = ("http://a/x", "http://b/x");
        assert_eq!(urls, [(0, a), (20, b), (1_820, b), (3_620, b)]);
    }

    #[test]
    fn a_tracker_id_is_sent_back_and_a_late_or_doubled_answer_changes_nothing() {
        let named = AnnounceResponse { tracker_id: Some(b"id".to_vec()), ..response(100, None) };
        let url = "http://a/x";
        let mut w = World::open(&[&[url]], &[(url, Tracker::Answers { after: 0, response: named.clone() })]);
        w.run(100);
        assert_eq!(w.sent[1].2.tracker_id.as_deref(), Some(&b"id"[..]));
        let ticket = Ticket { tracker: 0, serial: 1 };
        let (peers, changes) = (w.peers.len(), w.changes);
        w.say(Input::Answered { ticket, response: named });
        w.say(Input::Failed {
            ticket: Ticket { tracker: 7, serial: 1 },
            failure: Failure::Impossible(String::new()),
        });
        w.run(150);
        assert_eq!((w.peers.len(), w.changes), (peers, changes));
    }

    #[test]
    fn repeated_and_too_many_trackers_are_left_out() {
        let many: Vec<String> = (0..300).map(|i| format!("http://t{}/x", i / 2)).collect();
        let announcer = Announcer::new(config(), &[many.clone(), many], INCOMPLETE, Instant::ZERO, 1);
        assert_eq!(announcer.trackers().len(), MAX_TRACKERS);
        assert!(announcer.trackers().iter().all(|t| t.tier == 0));
    }

    fn trackers() -> impl Strategy<Value = Tracker> {
        let secs = 0u64..90;
        prop_oneof![
            (secs.clone(), 0u64..4_000, prop::option::of(0u64..4_000))
                .prop_map(|(after, i, min)| Tracker::Answers { after, response: response(i, min) }),
            Just(Tracker::Fails),
            secs.prop_map(Tracker::Silent),
            prop::option::of(Just(RetryIn::Never)).prop_map(Tracker::Refuses),
        ]
    }

    proptest! {
        #[test]
        fn whatever_trackers_do_the_rules_of_events_hold(
            kinds in prop::collection::vec(trackers(), 6), later in prop::collection::vec(trackers(), 6),
            private: bool, eager: bool, completes in 0u64..2_000, seed: u64,
        ) {
            const URLS: [&str; 6] = ["http://a/x", "http://b/x", "http://c/x", "udp://d:1", "udp://e:1", "udp://f:1"];
            let tiers = [&URLS[..3], &URLS[3..5], &URLS[5..]];
            let made = |kinds: Vec<Tracker>| URLS.into_iter().zip(kinds).collect::<BTreeMap<_, _>>();
            let mut w = World::new(Config { private, eager, ..config() }, &tiers, INCOMPLETE, &[]);
            w.announcer.rng = Pcg64::seed_from_u64(seed);
            w.trackers = made(kinds);
            w.run(completes);
            w.say(Input::Figures(COMPLETE));
            w.trackers = made(later);
            w.run(8_000);
            w.say(Input::Stop);
            w.run(9_000);
            prop_assert_eq!(w.stopped, 1);
            for url in URLS {
                let events = w.events(url);
                let rest: Vec<_> = events.iter().skip_while(|e| **e == Started).collect();
                prop_assert!(events.is_empty() || events[0] == Started);
                prop_assert!(!rest.contains(&&Started), "started again: {:?}", &rest[..rest.len().min(9)]);
                prop_assert!(events.iter().filter(|e| **e == Stopped).count() <= 1);
                prop_assert!(!events.contains(&Stopped) || events.last() == Some(&Stopped));
                // Never two at a time, and never closer than the shortest wait but for an event.
                let sent: Vec<_> = w.sent.iter().filter(|(_, u, _)| u == url).collect();
                let least = if eager { 1 } else { 5 };
                let close = sent.windows(2).filter(|p| p[1].0 - p[0].0 < least).map(|p| p[1].2.event);
                let wrong = close.filter(|e| *e != Completed && *e != Stopped).count();
                prop_assert_eq!(wrong, 0, "announces too close to each other");
            }
        }
    }
}

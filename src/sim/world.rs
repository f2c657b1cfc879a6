//! The world: hosts, the connections between them, and what happens when.
//!
//! Time jumps from event to event, in the order that `agenda` keeps; how messages travel is
//! `traffic`'s.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_pcg::Pcg64;

use crate::rate::ByteRate;
use crate::swarm::{Direction, Input, Output, Source};
use crate::time::{Duration, Instant};
use crate::wire::handshake::Hello;
use crate::wire::ids::{InfoHash, PeerId};

use super::agenda::{Agenda, Happening};
use super::host::{Deed, EngineHost};
use super::link::{Change, Link};
use super::scripted::Scripted;
use super::traffic::Connection;

/// Most events of one run for each host; more is a loop. (A viewer of a film of a quarter of an hour is good for
/// a hundred thousand.)
const MAX_EVENTS: u64 = 20_000_000;
/// Round trips from dialling to a finished handshake: TCP's and ours.
const HANDSHAKE_TRIPS: u32 = 2;
/// A tracker answers after this time.
const TRACKER_DELAY: Duration = Duration::from_millis(50);
/// ... and is asked again after this time at the earliest.
const TRACKER_REST: Duration = Duration::from_secs(60);
/// The swarm that all hosts are in.
pub const INFO_HASH: InfoHash = InfoHash([0x5a; 20]);

/// A host's number.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub usize);

/// One side of a connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    pub(super) connection: usize,
    /// 0: the caller's, 1: the callee's.
    pub(super) side: usize,
}

impl End {
    pub(super) const fn other(self) -> Self {
        Self { side: 1 - self.side, ..self }
    }
}

/// Who runs a host.
pub enum Mind {
    /// The engine.
    Engine(Box<EngineHost>),
    /// A script.
    Scripted(Box<Scripted>),
}

impl Mind {
    /// Whether it has all that it wants. Once it has, it always will.
    fn is_done(&self) -> bool {
        match self {
            Self::Engine(engine) => engine.is_done(),
            Self::Scripted(_) => true,
        }
    }
}

/// One host.
pub struct Host {
    /// What it is called in reports.
    pub name: String,
    /// Who runs it.
    pub mind: Mind,
    addr: SocketAddr,
    pub(super) link: Link,
    present: bool,
    /// It has all that it wants and its viewers have seen all, or it has left.
    done: bool,
    /// How long it stays once it is done; `None`: to the end.
    lingers: Option<Duration>,
    /// When it left.
    left: Option<Instant>,
    /// Whether others can call it.
    reachable: bool,
    /// Whom it hears of when it joins; `None`: the tracker tells.
    knows: Option<Vec<HostId>>,
    /// Set while it is frozen: what happens to it meanwhile.
    frozen: Option<Vec<Happening>>,
    /// Its connections, the closed ones too, in the order in which they were made.
    pub(super) ends: Vec<End>,
    /// Connections with something to send, in turn.
    pub(super) turn: VecDeque<End>,
    /// The outgoing side of the link is taken up to here, or until it is told to be free.
    pub(super) sending_until: Instant,
    pub(super) awaits_link: bool,
    /// The incoming side of the link is taken up to here, ...
    pub(super) receiving_until: Instant,
    /// ... by so many messages.
    pub(super) unread: usize,
    /// When its next wake-up is planned.
    wake: Instant,
    /// When the tracker answers, or answered, it last.
    told: Instant,
}

impl Host {
    /// When it left, if it did.
    pub const fn left(&self) -> Option<Instant> {
        self.left
    }
}

/// Everything there is.
pub struct World {
    pub(super) now: Instant,
    agenda: Agenda,
    handled: u64,
    pub(super) rng: Pcg64,
    pub(super) hosts: Vec<Host>,
    pub(super) connections: Vec<Connection>,
    addresses: BTreeMap<SocketAddr, HostId>,
    tracker: Tracker,
    /// Hosts that are not done.
    undone: usize,
    /// What a step left to do; empty between steps.
    deeds: Vec<Deed>,
}

/// When a run is over, besides at its end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// Everybody has what they want.
    AllDone,
    /// Never.
    End,
}

/// How many addresses the tracker tells.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Tracker {
    /// All that there are.
    Everybody,
    /// So many at random, somewhere between these.
    Some(usize, usize),
}

/// The name of a host in the swarm.
pub fn hello(host: HostId, fast: bool) -> Hello {
    let mut random = [0; 12];
    random[4..].copy_from_slice(&(host.0 as u64).to_be_bytes());
    Hello { fast, ..Hello::ours(INFO_HASH, PeerId::ours(random)) }
}

/// Where a host is, unless it is in another one's place.
pub(super) fn address(host: HostId) -> SocketAddr {
    let [_, _, high, low] = u32::try_from(host.0 + 1).unwrap_or(u32::MAX).to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 6881))
}

impl World {
    /// An empty world; `rng` decides delays and what else is left to chance.
    pub fn new(rng: Pcg64) -> Self {
        Self {
            now: Instant::ZERO,
            agenda: Agenda::default(),
            handled: 0,
            rng,
            hosts: Vec::new(),
            connections: Vec::new(),
            addresses: BTreeMap::new(),
            tracker: Tracker::Everybody,
            undone: 0,
            deeds: Vec::new(),
        }
    }

    /// From now on the tracker tells so many addresses.
    pub const fn set_tracker(&mut self, tracker: Tracker) {
        self.tracker = tracker;
    }

    /// Nobody can call this host.
    pub fn set_unreachable(&mut self, host: HostId) {
        self.hosts[host.0].reachable = false;
    }

    /// This host leaves so long after it is done.
    pub fn set_lingering(&mut self, host: HostId, lingers: Duration) {
        self.hosts[host.0].lingers = Some(lingers);
    }

    /// This host hears of these only.
    pub fn set_known(&mut self, host: HostId, known: Vec<HostId>) {
        self.hosts[host.0].knows = Some(known);
    }

    /// A host that joins later where another one has been before.
    pub fn take_over(&mut self, old: HostId, new: HostId) {
        let addr = self.hosts[old.0].addr;
        self.hosts[new.0].addr = addr;
    }

    /// Puts a host in; it joins the swarm after `joins`.
    pub fn add(&mut self, name: String, mind: Mind, link: Link, joins: Duration) -> HostId {
        let id = HostId(self.hosts.len());
        self.addresses.insert(address(id), id);
        let done = mind.is_done();
        self.undone += usize::from(!done);
        self.hosts.push(Host {
            name,
            mind,
            addr: address(id),
            link,
            present: false,
            done,
            lingers: None,
            left: None,
            reachable: true,
            knows: None,
            frozen: None,
            ends: Vec::new(),
            turn: VecDeque::new(),
            sending_until: Instant::ZERO,
            awaits_link: false,
            receiving_until: Instant::ZERO,
            unread: 0,
            wake: Instant::FAR_FUTURE,
            told: Instant::ZERO,
        });
        self.plan(Instant::ZERO + joins, Happening::Join(id));
        id
    }

    /// Something about a host's link will change.
    pub fn change(&mut self, at: Duration, host: HostId, change: Change) {
        self.plan(Instant::ZERO + at, Happening::Changed { host, change });
    }

    /// What time it is.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Events handled.
    pub const fn handled(&self) -> u64 {
        self.handled
    }

    /// Runs until nothing happens any more, until `end`, or until all are done, if that is what is waited for.
    /// Whether it can go on from there: it was `end`.
    pub fn run(&mut self, end: Instant, until: Until) -> bool {
        while let Some(at) = self.agenda.next_at() {
            if at > end {
                self.now = end;
                return true;
            }
            let Some((_, what)) = self.agenda.next() else { break };
            self.now = at;
            self.handled += 1;
            let most = MAX_EVENTS * self.hosts.len() as u64;
            assert!(self.handled < most, "the world does not come to an end at {:?}", self.now);
            self.happen(what);
            if until == Until::AllDone && self.undone == 0 {
                return false;
            }
        }
        false
    }

    pub(super) fn plan(&mut self, at: Instant, what: Happening) {
        self.agenda.plan(at.max(self.now), what);
    }

    fn happen(&mut self, what: Happening) {
        let Some(what) = self.held_up(what) else { return };
        match what {
            Happening::Wake(host) => self.on_wake(host),
            Happening::Join(host) => self.on_join(host),
            Happening::Found(host) => self.on_found(host),
            Happening::Shaken { from, addr } => self.on_shaken(from, addr),
            Happening::Free { host, payload } => self.on_free(host, payload),
            Happening::Arrived { to, message } => self.on_arrived(to, message),
            Happening::Delivered { to, message } => self.on_delivered(to, message),
            Happening::Closed { to } => self.on_closed(to),
            Happening::Due { host, input } => self.step(host, input),
            Happening::Changed { host, change } => self.on_changed(host, change),
        }
    }

    /// What happens to somebody who is frozen happens later.
    pub(super) fn held_up(&mut self, what: Happening) -> Option<Happening> {
        let to = match &what {
            Happening::Wake(host) | Happening::Found(host) | Happening::Due { host, .. } => *host,
            Happening::Shaken { from, .. } => *from,
            Happening::Delivered { to, .. } | Happening::Closed { to } => self.host_of(*to),
            _ => return Some(what),
        };
        match &mut self.hosts[to.0].frozen {
            Some(waiting) => {
                waiting.push(what);
                None
            }
            None => Some(what),
        }
    }

    fn on_wake(&mut self, host: HostId) {
        // A wake-up that was planned before an earlier one took its place is nobody's.
        if self.hosts[host.0].wake <= self.now {
            self.hosts[host.0].wake = Instant::FAR_FUTURE;
            self.step(host, Input::Timeout);
        }
    }

    fn on_join(&mut self, host: HostId) {
        (self.hosts[host.0].present, self.hosts[host.0].told) = (true, self.now);
        self.addresses.insert(self.hosts[host.0].addr, host);
        self.step(host, Input::Timeout);
        self.on_found(host);
    }

    /// It asks the tracker, as soon as it may.
    fn on_want_peers(&mut self, host: HostId) {
        let told = self.hosts[host.0].told;
        if told <= self.now {
            let at = (told + TRACKER_REST).max(self.now + TRACKER_DELAY);
            self.hosts[host.0].told = at;
            self.plan(at, Happening::Found(host));
        }
    }

    /// The tracker tells who is there.
    fn on_found(&mut self, host: HostId) {
        let ours = self.hosts[host.0].addr;
        let others = self.hosts.iter().filter(|h| h.present && h.addr != ours);
        let mut addrs: Vec<_> = others.map(|h| h.addr).collect();
        if let Tracker::Some(least, most) = self.tracker {
            addrs.shuffle(&mut self.rng);
            addrs.truncate(self.rng.random_range(least..=most));
        }
        if let Some(known) = &self.hosts[host.0].knows {
            addrs = known.iter().map(|h| self.hosts[h.0].addr).collect();
        }
        self.step(host, Input::Found { source: Source::Tracker, addrs });
    }

    fn on_shaken(&mut self, from: HostId, addr: SocketAddr) {
        let answers = |h: &Host| h.present && h.reachable && h.frozen.is_none();
        let callee = self.addresses.get(&addr).copied().filter(|h| answers(&self.hosts[h.0]));
        let Some(to) = callee.filter(|_| self.hosts[from.0].present) else {
            return self.dial_failed(from, addr);
        };
        let end = End { connection: self.connections.len(), side: 0 };
        self.connections.push(Connection::new([from, to]));
        self.hosts[from.0].ends.push(end);
        self.hosts[to.0].ends.push(end.other());
        if !self.connect(end.other(), Direction::Incoming, from) {
            self.connections[end.connection].fail();
            return self.dial_failed(from, addr);
        }
        if !self.connect(end, Direction::Outgoing, to) {
            self.close(end);
        }
        self.step(to, Input::Timeout);
        self.step(from, Input::Timeout);
    }

    fn connect(&mut self, end: End, direction: Direction, other: HostId) -> bool {
        let (fast, honest) = match &self.hosts[other.0].mind {
            Mind::Engine(_) => (true, true),
            Mind::Scripted(scripted) => (scripted.is_fast(), scripted.is_honest()),
        };
        let (now, id, addr) = (self.now, self.host_of(end), self.hosts[other.0].addr);
        match &mut self.hosts[id.0].mind {
            Mind::Engine(host) => {
                let peer = host.connect(now, end, addr, direction, (hello(other, fast), honest));
                self.side(end).peer = peer;
                peer.is_some()
            }
            Mind::Scripted(scripted) => {
                let said = scripted.connected(end);
                said.into_iter().for_each(|(end, message)| self.send(end, message));
                true
            }
        }
    }

    fn dial_failed(&mut self, from: HostId, addr: SocketAddr) {
        let now = self.now;
        if let Mind::Engine(host) = &mut self.hosts[from.0].mind {
            let mut deeds = std::mem::take(&mut self.deeds);
            host.dial_failed(now, addr, &mut deeds);
            self.act(from, deeds);
        }
    }

    fn on_changed(&mut self, id: HostId, change: Change) {
        let host = &mut self.hosts[id.0];
        match change {
            Change::Up(rate) => host.link.up = ByteRate(rate),
            Change::Down(rate) => host.link.down = ByteRate(rate),
            Change::Leave => self.on_leave(id),
            Change::Freeze => host.frozen = Some(Vec::new()),
            Change::Thaw => {
                let waiting = host.frozen.take().unwrap_or_default();
                waiting.into_iter().for_each(|what| self.happen(what));
            }
        }
    }

    fn on_leave(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        if !std::mem::replace(&mut host.done, true) {
            self.undone -= 1;
        }
        host.present = false;
        host.left = host.left.or(Some(self.now));
        self.leave(id);
    }

    /// Time passes for a host, or something comes in.
    pub(super) fn step(&mut self, id: HostId, input: Input) {
        let now = self.now;
        if !self.hosts[id.0].present {
            return;
        }
        match &mut self.hosts[id.0].mind {
            Mind::Engine(host) => {
                let mut deeds = std::mem::take(&mut self.deeds);
                host.step(now, input, &mut deeds);
                self.act(id, deeds);
            }
            Mind::Scripted(scripted) => {
                let said = scripted.tick(now);
                self.say(id, said);
            }
        }
    }

    pub(super) fn say(&mut self, id: HostId, said: super::scripted::Said) {
        said.into_iter().for_each(|(end, message)| self.send(end, message));
        self.plan_wake(id);
    }

    fn act(&mut self, id: HostId, mut deeds: Vec<Deed>) {
        let host = &mut self.hosts[id.0];
        if !host.done && host.mind.is_done() {
            host.done = true;
            self.undone -= 1;
            if let Some(lingers) = host.lingers {
                self.agenda.plan(self.now + lingers, Happening::Changed { host: id, change: Change::Leave });
            }
        }
        for deed in deeds.drain(..) {
            match deed {
                Deed::Due(at, input) => self.plan(at, Happening::Due { host: id, input }),
                Deed::Output(output) => self.carry_out(id, output),
            }
        }
        self.deeds = deeds;
        self.plan_wake(id);
    }

    fn carry_out(&mut self, id: HostId, output: Output) {
        match output {
            Output::Send { peer, message } => {
                if let Some(end) = self.engine(id).and_then(|host| host.end(peer)) {
                    self.send(end, message);
                }
            }
            Output::Close { peer } => {
                let Some(host) = self.engine(id) else { return };
                let Some(end) = host.disconnected(peer) else { return };
                self.side(end).peer = None;
                self.close(end);
            }
            Output::Dial { addr } => {
                let other = self.addresses.get(&addr).map_or_else(Link::unlimited, |h| self.hosts[h.0].link);
                let trip = self.hosts[id.0].link.distance(&other) * 2;
                let at = self.now + trip * HANDSHAKE_TRIPS + Duration::from_micros(100);
                self.plan(at, Happening::Shaken { from: id, addr });
            }
            Output::WantPeers => self.on_want_peers(id),
            Output::Wait(_) | Output::Start(_) | Output::Event(_) => unreachable!("the host took care of it"),
        }
    }

    fn engine(&mut self, id: HostId) -> Option<&mut EngineHost> {
        match &mut self.hosts[id.0].mind {
            Mind::Engine(host) => Some(host),
            Mind::Scripted(_) => None,
        }
    }

    fn plan_wake(&mut self, id: HostId) {
        let wake = match &self.hosts[id.0].mind {
            Mind::Engine(host) => host.wake(),
            Mind::Scripted(scripted) => scripted.wake(),
        };
        let wake = wake.max(self.now);
        if wake < self.hosts[id.0].wake {
            self.hosts[id.0].wake = wake;
            self.plan(wake, Happening::Wake(id));
        }
    }
}

//! One torrent: opens its store, then drives its engine with everything that happens.
//!
//! The task owns the engine alone. Bounded queues carry messages in (a connection waits when the task is
//! behind, and so does its peer); what workers answer is bounded by what the engine asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use rand_pcg::Pcg64;
use slotmap::SecondaryMap;
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant as Clock, sleep_until};

use super::announce::AnnounceClient;
use super::announcing::{Announcing, News};
use super::conn::{self, Line, MaxFrame};
use super::jobs::{self, Jobs};
use super::listen::{Call, Listener};
use super::opening;
use super::session::{Notice, Options, ReaderNotice, Trackers};
use super::shelf::Shelf;
use super::verifier::Verifier;
use super::workers::Workers;
use crate::discovery::announcer::{self, Figures, Summary};
use crate::metainfo::torrent::Metainfo;
use crate::rate::ByteRate;
use crate::store::disk::SAVE_EVERY;
use crate::stream::window::Ring;
use crate::swarm::event::{Event, ReaderId};
use crate::swarm::live::LiveConfig;
use crate::swarm::policy::Policy;
use crate::swarm::torrent::Torrent;
use crate::swarm::{Config, Direction, Input, Output, PeerKey, ReaderInput, Source};
use crate::time::Instant;
use crate::wire::handshake::Hello;
use crate::wire::ids::PeerId;

/// Messages from connections that wait for the task.
const INPUTS: usize = 512;
/// Inputs handled before the outputs are looked at.
const BATCH: usize = 128;
/// Callers that wait for the task.
const CALLS: usize = 16;
/// Figures are renewed this often.
const STATS_EVERY: Duration = Duration::from_millis(250);
/// Longest frame that a torrent needs, but for bitfields and blocks: an extension message.
const MAX_FRAME: u32 = 32 * 1024;
/// Most addresses taken of one host name.
const MAX_ADDRESSES: usize = 16;
/// Saying goodbye to trackers may take so long.
const GOODBYE: Duration = Duration::from_secs(3);

/// Peers asked of trackers when the engine is short of them.
const WANT: u32 = 50;
/// Further away than anything waits for.
const FAR: Duration = Duration::from_secs(3_600 * 24 * 365);

/// A reader's owner's ear.
pub(super) type Notify = Arc<dyn Fn(ReaderNotice) + Send + Sync>;

/// Orders from handles and readers.
pub(super) enum Control {
    /// Something about a reader.
    Reader { reader: ReaderId, input: ReaderInput },
    /// Who wants to hear of a reader.
    Listen { reader: ReaderId, notify: Notify },
    /// Another opener.
    Join { peers: Vec<String>, whole: bool },
    /// New limits, bytes/s, 0 = none.
    Limits { upload: u64, download: u64 },
    /// From the source of a broadcast: what it has signed (a piece lies on the shelf and is written), or whom it serves.
    Made(Input),
    /// End.
    Stop { done: Option<oneshot::Sender<()>> },
}

/// What a torrent's task is made of.
pub(super) struct Parts {
    pub(super) metainfo: Arc<Metainfo>,
    pub(super) options: Options,
    pub(super) shelf: Arc<Shelf>,
    pub(super) listener: Arc<Listener>,
    pub(super) workers: Workers,
    pub(super) orders: mpsc::UnboundedReceiver<Control>,
    pub(super) notices: broadcast::Sender<Notice>,
}

/// A call that we made.
struct Dialled {
    addr: SocketAddr,
    result: Option<(TcpStream, Hello)>,
}

struct Driver {
    metainfo: Arc<Metainfo>,
    options: Options,
    shelf: Arc<Shelf>,
    notices: broadcast::Sender<Notice>,
    jobs: Jobs,
    torrent: Torrent,
    announcing: Option<Announcing>,
    started: Clock,
    ours: Hello,
    port: u16,
    lines: SecondaryMap<PeerKey, Line>,
    ears: BTreeMap<ReaderId, Notify>,
    inputs: mpsc::Sender<Input>,
    dialled: mpsc::UnboundedSender<Dialled>,
    stats_due: Clock,
    save_due: Clock,
    told_peers: (u64, usize),
}

/// Runs a torrent until it is told to stop.
pub(super) async fn run(mut parts: Parts) {
    let shelf = Arc::clone(&parts.shelf);
    // The receiver may have nobody to hear it.
    let _ = parts.notices.send(Notice::Listening(parts.listener.addr()));
    let mut waiting = Vec::new();
    let callers = mpsc::channel(CALLS);
    if parts.metainfo.live.is_some() {
        // It is open in a moment, and who calls meanwhile waits. (A film may have to be checked for minutes.)
        parts.listener.route(parts.metainfo.info_hash, callers.0.clone());
    }
    let done = match opening::open(&mut parts, &mut waiting).await {
        Ok(Some(opened)) => drive(parts, callers, opened, waiting).await,
        Ok(None) => waiting.into_iter().find_map(stop_of),
        Err(error) => {
            jobs::fail(&shelf, &parts.notices, &error);
            refuse_all(&mut parts.orders, waiting).await
        }
    };
    shelf.close();
    if let Some(done) = done {
        // Whoever waited may have lost patience.
        let _ = done.send(());
    }
}

/// A torrent that cannot be opened answers nothing but the order to stop.
async fn refuse_all(
    orders: &mut mpsc::UnboundedReceiver<Control>,
    waiting: Vec<Control>,
) -> Option<oneshot::Sender<()>> {
    if waiting.iter().any(|c| matches!(c, Control::Stop { .. })) {
        return waiting.into_iter().find_map(stop_of);
    }
    while let Some(control) = orders.recv().await {
        if let Control::Stop { done } = control {
            return done;
        }
    }
    None
}

fn stop_of(control: Control) -> Option<oneshot::Sender<()>> {
    match control {
        Control::Stop { done } => done,
        _ => None,
    }
}

async fn drive(
    parts: Parts,
    (calls, mut from_callers): (mpsc::Sender<Call>, mpsc::Receiver<Call>),
    opened: opening::Ready,
    waiting: Vec<Control>,
) -> Option<oneshot::Sender<()>> {
    let Parts { metainfo, options, shelf, listener, workers, mut orders, notices } = parts;
    let (inputs, mut from_peers) = mpsc::channel(INPUTS);
    let (answers, mut from_workers) = mpsc::unbounded_channel();
    let (dialled, mut from_dials) = mpsc::unbounded_channel();
    listener.route(metainfo.info_hash, calls);
    let mut driver = Driver::new(
        Setup { metainfo, options, shelf, workers, notices, opened, port: listener.addr().port() },
        (inputs, answers, dialled),
    );
    let mut from_trackers = driver.announce();
    let mut stop = waiting.into_iter().find_map(|control| driver.on_control(control));
    let (mut answered, mut said) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    while stop.is_none() {
        let wake = driver.settle();
        tokio::select! {
            biased;
            control = orders.recv() => match control {
                Some(control) => stop = driver.on_control(control),
                None => break,
            },
            _ = from_workers.recv_many(&mut answered, BATCH) => driver.take(&mut answered),
            _ = from_peers.recv_many(&mut said, BATCH) => driver.take(&mut said),
            Some(call) = from_callers.recv() => driver.on_call(call),
            Some(call) = from_dials.recv() => driver.on_dialled(call),
            Some(news) = from_trackers.recv() => driver.on_news(news),
            () = sleep_until(wake) => driver.handle(Input::Timeout),
        }
    }
    driver.finish().await;
    stop.flatten()
}

fn live_config(metainfo: &Metainfo, source: bool) -> Option<LiveConfig> {
    let live = metainfo.live.as_ref()?;
    let ring = Ring::new(metainfo.geometry.pieces(), Some(live.window)).ok()?;
    Some(LiveConfig { ring, nominal: metainfo.bitrate(None), source })
}

/// What a driver is made from.
struct Setup {
    metainfo: Arc<Metainfo>,
    options: Options,
    shelf: Arc<Shelf>,
    workers: Workers,
    notices: broadcast::Sender<Notice>,
    opened: opening::Ready,
    port: u16,
}

type Senders = (mpsc::Sender<Input>, mpsc::UnboundedSender<Input>, mpsc::UnboundedSender<Dialled>);

impl Driver {
    fn new(setup: Setup, (inputs, answers, dialled): Senders) -> Self {
        let Setup { metainfo, options, shelf, workers, notices, opened, port } = setup;
        let mut rng: Pcg64 = rand::make_rng();
        let seed = rng.next_u64();
        let mut id = [0; 12];
        rng.fill_bytes(&mut id);
        let ours = Hello::ours(metainfo.info_hash, PeerId::ours(id));
        let config = Config {
            hello: ours,
            listen_port: port,
            max_peers: options.max_peers.max(1),
            whole: options.whole,
            budget: opened.budget,
            upload_limit: ByteRate(options.max_upload_rate),
            download_limit: ByteRate(options.max_download_rate),
            serving: options.serving.clone(),
            policy: Policy::GiveToGet,
            live: live_config(&metainfo, options.source),
        };
        let torrent =
            Torrent::new(config, metainfo.engine_geometry(), opened.have.clone(), Instant::ZERO, seed);
        let now = Clock::now();
        let mut driver = Self {
            jobs: Jobs {
                verifier: Arc::new(Verifier::new(Arc::clone(&metainfo))),
                store: opened.store,
                storage: opened.storage,
                shelf: Arc::clone(&shelf),
                workers,
                answers,
                notices: notices.clone(),
                saved: opened.have.count(),
            },
            metainfo,
            shelf,
            notices,
            torrent,
            announcing: None,
            started: now,
            ours,
            port,
            lines: SecondaryMap::new(),
            ears: BTreeMap::new(),
            inputs,
            dialled,
            stats_due: now,
            save_due: now + SAVE_EVERY,
            told_peers: (0, 0),
            options,
        };
        let peers = std::mem::take(&mut driver.options.peers);
        driver.find(peers);
        driver
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.started.elapsed()
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.handle_at(now, input);
    }

    fn take(&mut self, batch: &mut Vec<Input>) {
        let now = self.now();
        batch.drain(..).for_each(|input| self.handle_at(now, input));
    }

    fn handle_at(&mut self, now: Instant, input: Input) {
        if let Input::Closed { peer, .. } = &input {
            self.lines.remove(*peer);
        }
        self.torrent.handle(now, input);
    }

    /// Does everything that is to be done now; gives the time of the next thing.
    fn settle(&mut self) -> Clock {
        let now = self.now();
        let wait = loop {
            match self.torrent.poll(now) {
                Output::Wait(until) => break until,
                output => self.on_output(output),
            }
        };
        let clock = Clock::now();
        if clock >= self.stats_due {
            self.stats_due = clock + STATS_EVERY;
            self.report(now);
        }
        if clock >= self.save_due {
            self.save_due = clock + SAVE_EVERY;
            self.jobs.save(self.torrent.have());
        }
        let wake = self.started + wait.since(Instant::ZERO).min(FAR);
        wake.min(self.stats_due).min(self.save_due)
    }

    fn on_output(&mut self, output: Output) {
        match output {
            // `settle` looks at it.
            Output::Wait(_) => {}
            Output::Dial { addr } => self.dial(addr),
            Output::Close { peer } => {
                self.lines.remove(peer);
            }
            Output::Send { peer, message } => self.send(peer, message),
            Output::Start(job) => self.jobs.start(job),
            Output::WantPeers => self.want_peers(WANT),
            Output::Event(event) => self.on_event(event),
        }
    }

    fn send(&mut self, peer: PeerKey, message: crate::wire::message::Message) {
        let Some(line) = self.lines.get(peer) else { return };
        if !line.send(message) {
            tracing::debug!(?peer, "closed: it does not read what it is sent");
            self.lines.remove(peer);
            self.handle(Input::Closed { peer, hostile: false });
        }
    }

    fn dial(&self, addr: SocketAddr) {
        let (ours, from, dialled) = (self.ours, self.options.bind_address, self.dialled.clone());
        tokio::spawn(async move {
            let result = conn::dial(addr, from, ours).await;
            if let Err(error) = &result {
                tracing::debug!(%addr, %error, "cannot connect");
            }
            // The torrent may have ended meanwhile.
            let _ = dialled.send(Dialled { addr, result: result.ok() });
        });
    }

    fn on_dialled(&mut self, Dialled { addr, result }: Dialled) {
        match result {
            Some((stream, hello)) => self.connect(stream, addr, Direction::Outgoing, hello),
            None => self.handle(Input::DialFailed { addr }),
        }
    }

    fn on_call(&mut self, call: Call) {
        let ours = self.ours.encode();
        // A fresh socket's buffer takes a handshake at once; where it does not, the caller is not worth a wait.
        if call.stream.try_write(&ours).is_ok_and(|n| n == ours.len()) {
            self.connect(call.stream, call.addr, Direction::Incoming, call.hello);
        }
    }

    fn connect(&mut self, stream: TcpStream, addr: SocketAddr, direction: Direction, hello: Hello) {
        let now = self.now();
        // Small messages must not wait for big ones to fill a packet.
        let _ = stream.set_nodelay(true);
        match self.torrent.connect(now, addr, direction, hello) {
            Ok(peer) => {
                let max_frame =
                    MaxFrame { bitfield: self.metainfo.geometry.slots() / 8 + 2, others: MAX_FRAME };
                let line = conn::start(stream, peer, max_frame, self.inputs.clone());
                self.lines.insert(peer, line);
                tracing::debug!(%addr, ?direction, id = %hello.peer_id, "connected");
            }
            Err(refused) => tracing::debug!(%addr, %refused, "not connected"),
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Buffering { reader, percent, left, .. } => self.tell_reader(reader, percent, left),
            Event::Completed => {
                self.save_due = Clock::now();
                if let Some(announcing) = &self.announcing {
                    announcing.figures(self.figures());
                }
                self.report(self.now());
                self.tell(Notice::Completed);
            }
            Event::StreamHeaders(headers) => self.shelf.set_headers(headers),
            Event::Moved { reader, to, why } => self.shelf.move_reader(reader, to, why),
            Event::HashFailed(piece) => tracing::warn!(%piece, "a piece failed its hash"),
            Event::Banned { addr, why } => tracing::warn!(%addr, ?why, "banned a peer"),
        }
    }

    fn tell_reader(&self, reader: ReaderId, percent: u8, left: Option<Duration>) {
        let Some(notify) = self.ears.get(&reader).cloned() else { return };
        let now = self.now();
        let rate_in = self.torrent.stats(now).download_rate.get();
        let rate_out = self.torrent.playback_stats(now, reader).bitrate.unwrap_or_default();
        // In order, and off this thread: applications do what they like in a message handler.
        match Workers::ears() {
            Ok(ears) => {
                ears.run(move || notify(ReaderNotice::Buffering { percent, rate_in, rate_out, left }))
            }
            Err(error) => tracing::error!(%error, "cannot tell the application that it has to wait"),
        }
    }

    fn on_control(&mut self, control: Control) -> Option<Option<oneshot::Sender<()>>> {
        match control {
            Control::Reader { reader, input } => {
                if input == ReaderInput::Close {
                    self.ears.remove(&reader);
                }
                self.handle(Input::Reader { reader, input });
            }
            Control::Listen { reader, notify } => _ = self.ears.insert(reader, notify),
            Control::Made(input) => self.handle(input),
            Control::Join { peers, whole } => {
                self.find(peers);
                if whole {
                    self.handle(Input::WantAll);
                }
            }
            Control::Limits { upload, download } => {
                self.handle(Input::Limits { upload: ByteRate(upload), download: ByteRate(download) });
            }
            Control::Stop { done } => return Some(done),
        }
        None
    }

    /// Resolves peers that the user named.
    fn find(&self, peers: Vec<String>) {
        for peer in peers {
            let inputs = self.inputs.clone();
            tokio::spawn(async move {
                match tokio::net::lookup_host(&peer).await {
                    Ok(addrs) => {
                        let addrs = addrs.take(MAX_ADDRESSES).collect();
                        let _ = inputs.send(Input::Found { source: Source::User, addrs }).await;
                    }
                    Err(error) => tracing::warn!(%peer, %error, "no such peer"),
                }
            });
        }
    }

    /// Starts announcing; what the trackers say comes out of the queue.
    fn announce(&mut self) -> mpsc::Receiver<News> {
        let config = announcer::Config {
            info_hash: self.metainfo.info_hash,
            peer_id: self.ours.peer_id,
            port: self.port,
            key: rand::make_rng::<Pcg64>().next_u32(),
            private: self.metainfo.private,
            eager: self.metainfo.live.is_some() && !self.options.source,
        };
        let tiers = if self.options.trackers { self.metainfo.trackers.as_slice() } else { &[] };
        self.tell_trackers(Summary::default());
        let client = Arc::new(AnnounceClient::new(self.options.bind_address));
        let runtime = tokio::runtime::Handle::current();
        let (announcing, news) = Announcing::start(&runtime, client, config, tiers, self.figures());
        self.announcing = Some(announcing);
        news
    }

    fn figures(&self) -> Figures {
        let (uploaded, downloaded) = self.torrent.traffic();
        Figures { uploaded, downloaded, left: self.torrent.left() }
    }

    fn want_peers(&self, peers: u32) {
        if let Some(announcing) = &self.announcing {
            announcing.want(peers);
        }
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Peers(addrs) => self.handle(Input::Found { source: Source::Tracker, addrs }),
            News::Summary(summary) => self.tell_trackers(summary),
        }
    }

    fn tell_trackers(&self, Summary { asked, answered, failure }: Summary) {
        let known = if self.options.trackers { self.metainfo.trackers.iter().flatten().count() } else { 0 };
        self.shelf.set_trackers(Trackers { known, asked, answered, failure });
    }

    fn tell(&self, notice: Notice) {
        // Nobody may listen.
        let _ = self.notices.send(notice);
    }

    fn report(&mut self, now: Instant) {
        let stats = self.torrent.stats(now);
        let peers = (stats.dialled, stats.peers);
        if std::mem::replace(&mut self.told_peers, peers) != peers {
            self.tell(Notice::Peers { tried: peers.0, connected: peers.1 });
        }
        if let Some(announcing) = &self.announcing {
            announcing.figures(self.figures());
            if !self.torrent.lacks_peers() {
                announcing.want(0);
            }
        }
        let playback = self.ears.keys().map(|id| (*id, self.torrent.playback_stats(now, *id))).collect();
        self.shelf.set_stats(stats, playback);
    }

    /// The end: peers are closed, what is there is saved, trackers are told.
    async fn finish(mut self) {
        self.report(self.now());
        self.lines.clear();
        let done = self.jobs.close(self.torrent.have().clone());
        let goodbye = async {
            if let Some(announcing) = self.announcing.take() {
                announcing.stop(GOODBYE).await;
            }
        };
        // A worker that ended without saying so has been logged.
        let (_, ()) = tokio::join!(done, goodbye);
    }
}

//! `swarm seed`: shares torrents until it is told to stop, and may run the tracker too.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use indicatif::BinaryBytes;
use serde::Serialize;

use super::engine::{Engine, NetArgs, block_on};
use super::exit::{AFTER_HELP, Exit};
use super::library::Library;
use super::output;
use super::progress::{Bar, MAX_LINES, Status, percent, say, shorten};
use super::signals::Interrupt;
use super::tracker::{Figures, Service};
use super::values::{self, TrackerAddr};
use crate::discovery::tracker::{DEFAULT_INTERVAL, Policy};
use crate::metainfo::text::escape;
use crate::swarm::event::{State, Stats};

/// How often status and `--json` are renewed.
const TICK: Duration = Duration::from_secs(1);
/// How often the bar of the first check is renewed.
const CHECK_TICK: Duration = Duration::from_millis(100);
/// Columns for a torrent's name.
const NAME_WIDTH: usize = 32;

/// Share torrents, and run their tracker if asked to
///
/// Shares the files of torrents until Ctrl-C. First they are checked; what is missing is fetched from others,
/// unless --no-download.
///
///   swarm seed film.mkv.torrent                        # the film lies beside the torrent file
///   swarm seed *.torrent --dir /media --max-upload-rate 1M
///   swarm seed film.mkv.torrent --tracker              # and run its tracker on port 6969 (HTTP and UDP)
///   swarm seed torrents/ --tracker=127.0.0.1:7000      # a folder: looked at again every 30 s
///   swarm seed --json film.mkv.torrent | jq '.torrents[0].uploaded'
///
/// A folder given as TORRENT stands for the torrents in it (not below it): new ones are added, removed ones
/// ended. --tracker without an address listens on --bind or else on all addresses of this machine, port 6969;
/// it serves the torrents shared here and no others (`swarm tracker` serves any).
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Torrent files, or folders of them
    #[arg(value_name = "TORRENT", required = true)]
    torrents: Vec<PathBuf>,
    /// Folder with the data [default: where each torrent file is]
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
    /// Run a tracker in this process, on ADDR, PORT or ADDR:PORT
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "")]
    tracker: Option<TrackerAddr>,
    /// Share only what is there
    #[arg(long)]
    no_download: bool,
    /// Fetch over files that have the right names but nothing of the torrent's content
    #[arg(long)]
    force: bool,
    /// How often folders are looked at for new torrents
    #[arg(long, value_name = "TIME", value_parser = values::interval, default_value = "30s")]
    rescan: Duration,
    /// Print one JSON object a second to standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) net: NetArgs,
}

impl Args {
    /// Where the data of this torrent lies.
    pub(super) fn folder_of(&self, torrent: &Path) -> PathBuf {
        let beside = || torrent.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.dir.as_deref().or_else(beside).unwrap_or_else(|| Path::new(".")).to_owned()
    }

    /// Whether what is missing is to be fetched.
    pub(super) const fn may_download(&self) -> bool {
        !self.no_download
    }

    /// Whether files may be written over that have nothing of the torrent.
    pub(super) const fn may_overwrite(&self) -> bool {
        self.force
    }
}

/// Runs the command.
pub(super) fn run(args: Args) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::install()?;
    block_on(share(args, interrupt))
}

async fn share(args: Args, interrupt: Interrupt) -> anyhow::Result<Exit> {
    let service = match args.tracker {
        Some(addr) => Some(start_tracker(addr.complete(args.net.bind))?),
        None => None,
    };
    let mut library = Library::new(args.torrents.clone());
    library.rescan(&args, service.as_ref()).await;
    ensure!(library.may_share(), "no torrent can be shared: see above");
    check(&mut library, &interrupt).await;
    library.leave_out_unopened(service.as_ref()).await;
    ensure!(library.may_share(), "no torrent can be shared: see above");
    library.engines().for_each(|engine| say(&opening(engine)));
    let watched = watch(&mut library, &args, service.as_ref(), &interrupt).await;
    let partial = library.has_failures();
    library.shut_down().await;
    if let Some(service) = service {
        service.stop().await;
    }
    watched.map(|()| if partial { Exit::Partial } else { Exit::Done })
}

/// The tracker serves what the library will hold; until then nothing.
fn start_tracker(addr: SocketAddr) -> anyhow::Result<Service> {
    Service::start(addr, DEFAULT_INTERVAL, Policy::Only(BTreeSet::new()))
}

/// Shows a bar until all torrents have been looked at once.
async fn check(library: &mut Library, interrupt: &Interrupt) {
    let total = library.engines().map(|engine| engine.handle.metainfo().geometry.total()).sum();
    let bar = Bar::new("checking", total);
    loop {
        let (mut done, mut under_way) = (0_u64, false);
        for engine in library.engines() {
            engine.listen();
            // One that cannot be opened would stay at that for ever.
            let checking = engine.handle.stats().state == State::Checking && engine.unopened().is_none();
            under_way |= checking;
            let all = engine.handle.metainfo().geometry.total();
            done = done.saturating_add(if checking { engine.checked_bytes() } else { all });
        }
        bar.set(done, String::new());
        if !under_way || interrupt.is_set() {
            break;
        }
        // Either the time is over or the user has asked; the loop tells which.
        let _ = tokio::time::timeout(CHECK_TICK, interrupt.asked()).await;
    }
}

/// The first word about a torrent.
fn opening(engine: &Engine) -> String {
    let (metainfo, stats) = (engine.handle.metainfo(), engine.handle.stats());
    let total = metainfo.geometry.total();
    let there = match stats.have == total {
        true => "complete".to_owned(),
        false => format!("{} of {} are there", percent(stats.have, total), BinaryBytes(total)),
    };
    format!("{}: {there}; listening on {}", escape(&metainfo.name), engine.handle.local_addr())
}

/// Shows how it goes until the user ends it.
async fn watch(
    library: &mut Library,
    args: &Args,
    service: Option<&Service>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let (mut status, mut scanned) = (Status::new(), Instant::now());
    while !interrupt.is_set() {
        if scanned.elapsed() >= args.rescan {
            scanned = Instant::now();
            library.rescan(args, service).await;
        }
        library.leave_out_unopened(service).await;
        let report = Report::new(library, service.map(Service::figures));
        status.show(&report.lines(), &report.summary());
        if args.json {
            output::json(&report)?;
        }
        // Either the second is over or the user has asked; the loop's head tells which.
        let _ = tokio::time::timeout(TICK, interrupt.asked()).await;
    }
    Ok(())
}

/// What `--json` prints every second. Bytes, bytes/s.
#[derive(Serialize)]
struct Report {
    torrents: Vec<Line>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracker: Option<Figures>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    info_hash: String,
    listening: SocketAddr,
    state: &'static str,
    have: u64,
    length: u64,
    peers: usize,
    seeds: usize,
    upload_rate: u64,
    download_rate: u64,
    uploaded: u64,
    downloaded: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(skip)]
    stats: std::sync::Arc<Stats>,
}

impl Line {
    fn new(engine: &mut Engine) -> Self {
        engine.listen();
        let (metainfo, stats) = (engine.handle.metainfo(), engine.handle.stats());
        Self {
            name: metainfo.name.clone(),
            info_hash: metainfo.info_hash.to_string(),
            listening: engine.handle.local_addr(),
            state: stats.state.as_str(),
            have: stats.have,
            length: metainfo.geometry.total(),
            peers: stats.peers,
            seeds: stats.seeds,
            upload_rate: stats.upload_rate.get(),
            download_rate: stats.download_rate.get(),
            uploaded: stats.uploaded,
            downloaded: stats.downloaded,
            failure: engine.failure(),
            stats,
        }
    }

    fn to_text(&self) -> String {
        let name = shorten(&escape(&self.name), NAME_WIDTH);
        let (done, stats) = (percent(self.have, self.length), &self.stats);
        let sent = BinaryBytes(self.uploaded);
        let down = match stats.download_rate.get() {
            0 => String::new(),
            _ => format!("  down {}", stats.download_rate),
        };
        let trouble = self.failure.as_ref().map_or_else(String::new, |why| format!("  FAILED: {why}"));
        format!(
            "{name:<NAME_WIDTH$}  {done:>7}  {} peers  up {} ({sent}){down}{trouble}",
            self.peers, stats.upload_rate
        )
    }
}

impl Report {
    fn new(library: &mut Library, tracker: Option<Figures>) -> Self {
        Self { torrents: library.engines().map(Line::new).collect(), tracker }
    }

    fn lines(&self) -> Vec<String> {
        let room = MAX_LINES - 2;
        let mut lines: Vec<_> = self.torrents.iter().take(room).map(Line::to_text).collect();
        if self.torrents.len() > room {
            lines.push(format!("... {}", self.summary()));
        }
        lines.extend(self.tracker.as_ref().map(Figures::to_text));
        lines
    }

    fn summary(&self) -> String {
        if let [only] = &self.torrents[..] {
            return only.to_text();
        }
        let complete = self.torrents.iter().filter(|line| line.have == line.length).count();
        let sum = |of: fn(&Line) -> u64| self.torrents.iter().map(of).sum::<u64>();
        format!(
            "{} torrents ({complete} complete), {} peers, up {}/s ({})",
            self.torrents.len(),
            sum(|line| line.peers as u64),
            BinaryBytes(sum(|line| line.upload_rate)),
            BinaryBytes(sum(|line| line.uploaded))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lies_beside_the_torrent_unless_a_folder_is_given() {
        let args = |words: &[&str]| {
            #[derive(clap::Parser)]
            struct Line {
                #[command(flatten)]
                args: Args,
            }
            <Line as clap::Parser>::parse_from(words).args
        };
        let folder = |words: &[&str], torrent: &str| args(words).folder_of(Path::new(torrent));
        assert_eq!(folder(&["seed", "x"], "a/b.torrent"), Path::new("a"));
        assert_eq!(folder(&["seed", "x"], "b.torrent"), Path::new("."));
        assert_eq!(folder(&["seed", "x", "--dir", "d"], "a/b.torrent"), Path::new("d"));
    }
}

//! `swarm live`: cuts a live stream into signed pieces and gives them to its viewers.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::create::read_thumbnail;
use super::engine::{PATIENCE, block_on, let_them_finish};
use super::exit::{AFTER_HELP, Exit, Usage};
use super::feeding::{Begun, OnEof};
use super::output;
use super::progress::{Status, clock, harmless, say, warn};
use super::signals::{Asked, Interrupt};
use super::{taking_up, values};
use crate::metainfo::tstream::WINDOW_PART;
use crate::net::aux_seeds::AuxSeeds;
use crate::net::berth::Berth;
use crate::net::broadcast::{BroadcastStats, OPAQUE};
use crate::net::station::{
    DEFAULT_DURATION, DEFAULT_PIECE_LENGTH, DEFAULT_WINDOW, Plan, Station, in_url, own_address,
};
use crate::rate::ByteRate;
use crate::swarm::event::Stats;

/// The original's port.
const PORT: u16 = 8764;
/// How often status and `--json` are renewed.
const TICK: Duration = Duration::from_secs(1);

/// Broadcast a live stream
///
/// Reads an MPEG-TS, Matroska/WebM or Ogg stream (or a file or URL, which becomes MPEG-TS), cuts it into signed
/// pieces, and gives them to whoever watches. Viewers open NAME.tstream, which lies in --destdir and is also at
/// http://HOST:PORT/NAME.tstream, and pass the pieces on to each other.
///
///   ffmpeg -re -i film.mkv -c copy -f mpegts - | swarm live --name cam.ts --source -
///   swarm live --name stream.mpegts --source - --port 8764 --duration 1:00:00 --destdir . --thumb t.jpg
///   mkfifo cam; swarm live --name cam.ts --source cam --on-eof wait
///   swarm live --name film.ts --source film.mkv             # in its own time; MPEG-TS, not encoded again
///   swarm live --name cam.ts --source rtsp://192.0.2.9/1    # anything that GStreamer can open
///
/// In --destdir: NAME.tstream; NAME.sauth, the private key: keep it, and to yourself; NAME.restart, the next
/// piece's number; NAME, the ring with the last --duration of the stream, which grows to --bitrate times --duration
/// (0.9 GB for an hour of 250kB/s); and in the folder .swarm, notes on what is in the ring, and a lock.
///
/// Ctrl-C and the end of the source end the broadcast for its viewers: they see the end of the stream, and end.
/// SIGTERM (`kill`, `systemctl stop`) ends this command only, as a crash would: viewers wait, and go on by
/// themselves when the same command runs again and takes the broadcast up where it was. So they do when a source
/// gives nothing at all. The same command after Ctrl-C takes it up, too, for viewers who open it anew. --new begins
/// another one.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Name of the broadcast and of its files
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Where the stream comes from: `-` for standard input, a named pipe, a file, or a URL
    #[arg(long, value_name = "SOURCE", default_value = "-")]
    source: String,
    /// Port for viewers, tracker and status page; 0 takes any that is free (name it when you take the broadcast up)
    #[arg(long, value_name = "P", default_value_t = PORT)]
    port: u16,
    /// Address to listen on [default: any]
    #[arg(long, value_name = "ADDR", value_parser = values::address)]
    bind: Option<IpAddr>,
    /// Folder for the broadcast's files
    #[arg(long, value_name = "D", default_value = ".")]
    destdir: PathBuf,
    /// A part-filled piece goes out after this time
    #[arg(long, value_name = "TIME", value_parser = values::interval, default_value = "1s")]
    pub(super) flush_after: Duration,
    /// What happens when the source ends
    #[arg(long, value_name = "exit|wait", value_enum, default_value = "exit")]
    on_eof: OnEof,
    /// Most bytes a second to viewers; 0 = no limit
    #[arg(long, value_name = "R", value_parser = values::rate, default_value = "0")]
    max_upload_rate: u64,
    /// Most viewers that are served at a time, who pass it on to the others; 0 = whoever asks
    #[arg(long, value_name = "N", default_value = "0")]
    uploads: u32,
    /// A machine that is always served, besides --uploads and before the others; its port, if any, does not matter
    #[arg(long = "aux-seed", value_name = "HOST", num_args = 1.., value_parser = values::host)]
    aux_seeds: Vec<String>,
    /// Begin a new broadcast even if there is one of this name (its files are kept with .old behind their names)
    #[arg(long)]
    new: bool,
    /// Print one JSON object a second to standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) made: MadeWith,
}

/// What is decided when a broadcast is made, and written into its `.tstream`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For a new broadcast only (what is taken up goes on as it was made)")]
pub(super) struct MadeWith {
    /// The host under which viewers find this machine, written into the .tstream [default: its address]
    #[arg(long, value_name = "HOST")]
    pub(super) announce_address: Option<String>,
    /// A tracker besides the internal one; may be repeated
    #[arg(long = "tracker", value_name = "URL", value_parser = values::tier)]
    pub(super) trackers: Vec<Vec<String>>,
    /// How much of the stream the ring holds [default: 1:00:00]
    #[arg(long, value_name = "TIME", value_parser = values::length)]
    pub(super) duration: Option<Duration>,
    /// How much of it viewers keep and can start in; a quarter of --duration at most [default: 15:00]
    #[arg(long, value_name = "TIME", value_parser = values::length)]
    pub(super) window: Option<Duration>,
    /// Bytes a second of the stream [default: measured from its first seconds]
    #[arg(long, value_name = "R", value_parser = values::bitrate)]
    pub(super) bitrate: Option<u64>,
    /// Bytes in a piece [default: 32KiB]
    #[arg(long, value_name = "N", value_parser = values::bytes)]
    pub(super) piece_length: Option<u64>,
    /// What to call the broadcast [default: its name]
    #[arg(long, value_name = "TEXT")]
    pub(super) title: Option<String>,
    /// A JPEG picture of the broadcast
    #[arg(long, value_name = "FILE")]
    pub(super) thumb: Option<PathBuf>,
    /// Do not sign it, for closed networks and tests: anybody in its swarm can change what viewers see, and they have
    /// to allow that (--allow-unsigned)
    #[arg(long)]
    pub(super) unsigned: bool,
}

impl MadeWith {
    fn duration(&self) -> Duration {
        self.duration.unwrap_or(DEFAULT_DURATION)
    }

    /// Viewers keep a quarter of the ring at most, since an index in it must not mean two pieces.
    fn check(&self) -> anyhow::Result<()> {
        let most = self.duration() / WINDOW_PART;
        let Some(window) = self.window.filter(|window| *window > most) else { return Ok(()) };
        let [window, duration, most] = [window, self.duration(), most].map(clock);
        Err(Usage::new(format!(
            "--window {window} is more than a quarter of --duration {duration}: at most {most} can be kept, or more of a \
             longer --duration"
        ))
        .into())
    }
}

impl Args {
    /// What to broadcast, and where. The bitrate is 0 where it has to be measured.
    fn plan(&self) -> anyhow::Result<Plan> {
        let made = &self.made;
        let mut aux_seeds = AuxSeeds::default();
        self.aux_seeds.iter().try_for_each(|host| aux_seeds.add(host))?;
        Ok(Plan {
            name: self.name.clone(),
            folder: self.destdir.clone(),
            port: self.port,
            bind: self.bind,
            host: made.announce_address.clone().unwrap_or_else(|| own_address(self.bind)),
            trackers: made.trackers.concat(),
            bitrate: made.bitrate.unwrap_or(0),
            duration: made.duration(),
            window: made.window.unwrap_or(DEFAULT_WINDOW),
            piece_length: made
                .piece_length
                .map_or(Ok(DEFAULT_PIECE_LENGTH), u32::try_from)
                .context("--piece-length is too large")?,
            flush_after: self.flush_after,
            thumbnail: made.thumb.as_deref().map(read_thumbnail).transpose()?,
            title: made.title.clone(),
            anew: self.new,
            unsigned: made.unsigned,
            max_upload_rate: self.max_upload_rate,
            uploads: NonZeroU32::new(self.uploads),
            aux_seeds,
        })
    }
}

/// Runs the command.
pub(super) fn run(args: Args) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::install_silently()?;
    block_on(broadcast(args, interrupt))
}

async fn broadcast(args: Args, interrupt: Interrupt) -> anyhow::Result<Exit> {
    let mut plan = args.plan()?;
    // What will not do is told before anybody waits for the source.
    let berth = Berth::take(&plan)?;
    match berth.old() {
        Some(old) => taking_up::check(&args, &plan, old)?,
        None => args.made.check()?,
    }
    let source = args.source.clone();
    let known = plan.bitrate > 0 || berth.old().is_some();
    let begun = async {
        let begun = tokio::task::spawn_blocking(move || Begun::open(&source, !known)).await;
        begun.context("the thread that reads the source panicked")?
    };
    let resolved = async { Ok(plan.aux_seeds.resolve().await?) };
    let begun = tokio::select! {
        both = async { tokio::try_join!(begun, resolved) } => both?.0,
        _ = interrupt.asked() => return Ok(Exit::Interrupted),
    };
    if plan.bitrate == 0 {
        plan.bitrate = begun.bitrate;
    }
    let station = Station::open(&plan, berth)?;
    announce(&station, &plan, &args);
    let exit = on_air(station, begun, &args, &interrupt).await?;
    Ok(exit)
}

fn announce(station: &Station, plan: &Plan, args: &Args) {
    let shown = harmless(&station.tstream.to_string_lossy());
    let bitrate = plan.bitrate;
    if station.resumed {
        say(&format!("{shown}: taken up again"));
    } else {
        say(&format!("{shown}: made, for {} ({} kbit/s)", ByteRate(bitrate), bitrate * 8 / 1000));
    }
    let metainfo = station.handle.metainfo();
    if metainfo.playable(false).is_err() {
        say(
            "it is not signed: anybody in its swarm can change what viewers see, and they have to allow that",
        );
    }
    let (port, host) =
        (station.handle.local_addr().port(), args.made.announce_address.as_deref().map(in_url));
    let promised = station.promised();
    if let Some((named, its_port)) = &promised {
        taking_up::warn_astray(&shown, (named, *its_port), host.as_deref(), port);
    }
    let host = host.map(Cow::into_owned).or_else(|| promised.map(|(host, _)| host));
    let host = host.unwrap_or_else(|| in_url(&plan.host).into_owned());
    say(&format!(
        "on air at http://{}:{port}/ ({}.tstream there)",
        harmless(&host),
        harmless(&metainfo.name)
    ));
}

async fn on_air(station: Station, begun: Begun, args: &Args, interrupt: &Interrupt) -> anyhow::Result<Exit> {
    let Station { handle, broadcaster, tracker, .. } = station;
    let figures = broadcaster.figures();
    let broadcaster = Arc::new(broadcaster);
    let mut fed = begun.feed(Arc::clone(&broadcaster), args.source.clone(), args.on_eof)?;
    let (mut status, mut warned) = (Status::new(), false);
    let (end, result) = loop {
        let (made, stats) = (figures.stats(), handle.stats());
        warn_once(&mut warned, &made);
        let line = words(&made, &stats);
        status.show(std::slice::from_ref(&line), &line);
        if args.json {
            output::json(&Report::new(&made, &stats))?;
        }
        if let Some(why) = handle.failure() {
            bail!("{why}");
        }
        ensure!(!made.failed, "no more pieces can be made (see above)");
        tokio::select! {
            // A service manager ends whoever feeds us, too: that is not the end of the broadcast.
            biased;
            asked = interrupt.asked() => break (asked.into(), Ok(())),
            ended = &mut fed => {
                let ended = ended.context("the thread that reads the source panicked")?;
                break end_of_source(figures.stats().bytes, ended);
            }
            () = tokio::time::sleep(TICK) => {}
        }
    };
    drop(status);
    say(end.words(interrupt.is_set()));
    let made = tokio::task::spawn_blocking(move || match end {
        End::Broadcast => broadcaster.end(),
        End::Process => broadcaster.pause(),
    });
    made.await.context("the broadcast's end panicked")?;
    warn_once(&mut warned, &figures.stats());
    let_them_finish(&handle, interrupt).await;
    tracker.stop().await;
    handle.shut_down(PATIENCE).await;
    result.map(|()| Exit::Done)
}

/// The source has ended, or failed. One that gave nothing (a mistake in the command that feeds us, say) is no reason to
/// end what viewers wait for.
fn end_of_source(bytes: u64, ended: anyhow::Result<()>) -> (End, anyhow::Result<()>) {
    if bytes > 0 {
        return (End::Broadcast, ended);
    }
    (
        End::Process,
        ended.and_then(|()| bail!("the source ended before anything came from it: look at what feeds it")),
    )
}

fn warn_once(warned: &mut bool, made: &BroadcastStats) {
    if made.opaque && !std::mem::replace(warned, true) {
        warn(OPAQUE);
    }
}

/// What is over.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum End {
    /// The broadcast: its viewers end, too.
    Broadcast,
    /// This process only: viewers wait until the broadcast is taken up again.
    Process,
}

impl From<Asked> for End {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::ByUser => Self::Broadcast,
            Asked::ByService => Self::Process,
        }
    }
}

impl End {
    /// What is said; `pressed` tells whether Ctrl-C led to it.
    const fn words(self, pressed: bool) -> &'static str {
        match self {
            Self::Broadcast if pressed => {
                "telling viewers that the broadcast is over; Ctrl-C once more ends at once"
            }
            Self::Broadcast => "telling viewers that the broadcast is over; Ctrl-C ends at once",
            Self::Process => "stopping: viewers wait until the same command takes the broadcast up again",
        }
    }
}

fn words(made: &BroadcastStats, stats: &Stats) -> String {
    let lost = if made.lost > 0 { format!(", LOST {} bytes: too slow", made.lost) } else { String::new() };
    format!("in {}, piece {}, {} viewers, out {}{lost}", made.rate, made.next, stats.peers, stats.upload_rate)
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    input: u64,
    input_rate: u64,
    piece: u64,
    viewers: usize,
    uploaded: u64,
    upload_rate: u64,
    lost: u64,
    banned: usize,
}

impl Report {
    fn new(made: &BroadcastStats, stats: &Stats) -> Self {
        Self {
            input: made.bytes,
            input_rate: made.rate.get(),
            piece: made.next,
            viewers: stats.peers,
            uploaded: stats.uploaded,
            upload_rate: stats.upload_rate.get(),
            lost: made.lost,
            banned: stats.banned,
        }
    }
}

//! `swarm get`: fetches a torrent, or one file of it, to a folder, a file or a pipe.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;

use super::describe::file_name;
use super::download::{Ended, Run};
use super::engine::{self, NetArgs, PATIENCE, block_on};
use super::exit::{AFTER_HELP, Exit, Usage};
use super::goal::Goal;
use super::progress::{percent, say, time};
use super::signals::Interrupt;
use super::watch::{self, Watch};
use super::{guard, values};
use crate::metainfo::text::escape;
use crate::metainfo::torrent::Metainfo;

/// Fetch a torrent or one file of it, or watch a live broadcast
///
/// Fetches a torrent and shows how far it is. What is there already, whole or in part, is checked and used;
/// the same command again goes on where it stopped.
///
///   swarm get film.mkv.torrent                    # into this folder, under the torrent's own names
///   swarm get album.torrent --dir Music           # into Music/
///   swarm get film.mkv.torrent -o film.mkv        # one file, which appears when it is complete
///   swarm get film.mkv.torrent -o - | mpv -       # in order, to a player that reads a pipe
///   swarm get show.torrent --file 2 -o part2.mkv  # file 2 as numbered by `swarm show`
///   swarm get http://192.0.2.7:8764/cam.ts.tstream -o - | mpv -   # a live broadcast
///
/// Where the data is: without -o in --dir, at its final place from the start. With -o FILE in a hidden
/// folder beside FILE (.FILE.XXXXXXXX.swarm) that becomes FILE when complete: no second copy. With -o - (or a
/// named pipe or device) in --dir if given, else in the cache (~/.cache/gst-swarm) from which it is removed
/// when room is needed. -o takes the torrent's largest media file unless --file says which.
///
/// A live broadcast (.tstream) needs -o: its stream is written from now on (--buffer behind its live point) until
/// it ends. With -o - it goes into a pipe; with -o FILE into a file that is there at once and grows, for there is
/// no whole to wait for; the same command with --force begins it anew. Pieces that viewers keep for each other
/// meanwhile are in --dir if given, else in the cache. --file and --seed are for torrents only.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// The torrent file, or the http:// or https:// URL of one
    #[arg(value_name = "TORRENT|URL")]
    torrent: PathBuf,
    /// Write one file of the torrent, or a broadcast's stream, to this file, or to standard output with `-`
    #[arg(short, long, value_name = "FILE|-")]
    pub(super) output: Option<PathBuf>,
    /// Fetch only this file, numbered from 0 as in `swarm show`
    #[arg(long, value_name = "N")]
    file: Option<usize>,
    /// Folder to put the torrent's files into [default: this one]
    #[arg(long, value_name = "D")]
    pub(super) dir: Option<PathBuf>,
    /// Write over files that are there
    #[arg(long)]
    pub(super) force: bool,
    /// How far behind its live point to enter a live broadcast, e.g. 5s [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::interval)]
    buffer: Option<Duration>,
    /// Watch a live broadcast that is not signed: anybody in its swarm can change what is seen
    #[arg(long)]
    allow_unsigned: bool,
    /// Keep seeding after all of a torrent is there, until Ctrl-C
    #[arg(long)]
    seed: bool,
    /// Give up when nothing has arrived for this long, e.g. 30s or 5:00 (exit code 3); a broadcast that pauses is
    /// waited for as long, too [default: never]
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    pub(super) give_up: Option<Duration>,
    /// Print one JSON object a second to standard output
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    net: NetArgs,
}

impl Args {
    /// What has no meaning for something that is never whole.
    fn check_live(&self) -> anyhow::Result<()> {
        let option = match (self.file, self.seed) {
            (Some(_), _) => "--file",
            (None, true) => "--seed",
            (None, false) => return Ok(()),
        };
        Err(Usage::new(format!("{option} is for torrents, and this is a live broadcast: leave it out"))
            .into())
    }
}

/// Runs the command.
pub(super) fn run(args: Args) -> anyhow::Result<Exit> {
    let metainfo = Arc::new(engine::load(&args.torrent, args.net.bind, args.allow_unsigned)?);
    if args.json && args.output.as_deref() == Some(Path::new("-")) {
        return Err(Usage::new("--json and -o - both need standard output: leave one out").into());
    }
    if metainfo.live.is_some() {
        args.check_live()?;
        let interrupt = Interrupt::install()?;
        return block_on(async {
            let watch = Watch { args: &args, net: &args.net, buffer: args.buffer.unwrap_or(watch::BUFFER) };
            watch.run(metainfo, &interrupt).await
        });
    }
    let wanted = Wanted::new(&args, &metainfo)?;
    let goal = Goal::new(&args, &metainfo)?;
    if let (Goal::Folder(folder), false) = (&goal, args.force) {
        guard::check(&metainfo, folder, &wanted.range)?;
    }
    let interrupt = Interrupt::install()?;
    block_on(fetch(args, metainfo, wanted, goal, interrupt))
}

/// Which part of the torrent is wanted.
pub(super) struct Wanted {
    /// The one file, unless all are.
    pub(super) file: Option<usize>,
    /// Its place in the torrent's byte space.
    pub(super) range: Range<u64>,
    /// What to call it, escaped.
    pub(super) name: String,
}

impl Wanted {
    fn new(args: &Args, metainfo: &Metainfo) -> anyhow::Result<Self> {
        let files = &metainfo.layout.files;
        if let Some(number) = args.file.filter(|number| *number >= files.len()) {
            bail!("--file {number}: the torrent has files 0 to {}; `swarm show` lists them", files.len() - 1);
        }
        let main = || args.output.as_ref().and_then(|_| metainfo.layout.largest_media());
        let file = args.file.or_else(main);
        let range = file.map_or_else(|| 0..metainfo.geometry.total(), |file| files[file].range.clone());
        let name = file.map_or_else(|| metainfo.name.clone(), |file| file_name(metainfo, file));
        Ok(Self { file, range, name: escape(&name) })
    }

    /// Bytes in it.
    pub(super) const fn total(&self) -> u64 {
        self.range.end - self.range.start
    }
}

async fn fetch(
    args: Args,
    metainfo: Arc<Metainfo>,
    wanted: Wanted,
    goal: Goal,
    interrupt: Interrupt,
) -> anyhow::Result<Exit> {
    let whole = wanted.file.is_none() || metainfo.layout.files.len() == 1;
    let options = args.net.options(goal.place(), whole);
    let engine = engine::open(Arc::clone(&metainfo), options).inspect_err(|_| goal.give_up())?;
    let (file, name) = (wanted.file, wanted.name.clone());
    let mut run = Run::new(&args, wanted, &goal, engine)?;
    let ended = run.until_there(&interrupt).await;
    let lacked = run.engine.waiting_for(&run.engine.handle.stats());
    let seeded = match ended {
        Ok(Ended::Complete) if args.seed => run.seed_on(&goal, args.force, &interrupt).await,
        _ => Ok(()),
    };
    let (have, done) = (run.have(), percent(run.have(), run.wanted.total()));
    run.engine.handle.clone().shut_down(PATIENCE).await;
    if args.json {
        run.print_json()?;
    }
    seeded?;
    if have == 0 && !matches!(ended, Ok(Ended::Complete)) {
        goal.give_up();
    }
    match ended? {
        Ended::Complete => {
            if !args.seed {
                goal.deliver(&metainfo, file, args.force, false)?;
                say(&format!("{name}: complete{}", goal.words()));
            }
            goal.clean();
            Ok(Exit::Done)
        }
        Ended::Closed => Ok(Exit::Done),
        early => {
            let why = match early {
                Ended::GaveUp => gave_up(args.give_up, &lacked),
                _ if have == 0 => "stopped before anything came".to_owned(),
                _ => "stopped".to_owned(),
            };
            say(&match have {
                0 => format!("{name}: {why}"),
                _ => format!("{name}: {why} at {done}; the same command again goes on from there"),
            });
            Ok(if early == Ended::GaveUp { Exit::Partial } else { Exit::Interrupted })
        }
    }
}

/// Why no more is waited for, in words: `lacked` is what was.
pub(super) fn gave_up(limit: Option<Duration>, lacked: &str) -> String {
    format!("gave up, for nothing has come for {} ({lacked})", time(limit.unwrap_or_default()))
}

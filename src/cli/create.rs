//! `swarm create`: makes a torrent of a file or a folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use indicatif::BinaryBytes;

use super::describe::{Description, pieces_of};
use super::exit::{AFTER_HELP, Exit, Usage};
use super::media::{self, Media};
use super::progress::{Bar, chain, clock, harmless, say, warn};
use super::source::{Source, SourceFile};
use super::{hashing, output, values};
use crate::metainfo::create::{Content, Draft, DraftFile, PieceLength, check, encode};
use crate::metainfo::layout::is_media_name;
use crate::metainfo::torrent::{MAX_THUMBNAIL, Metainfo};

/// Most files of a folder that GStreamer looks into.
const MAX_PROBED: usize = 500;

/// Make a torrent of a file or a folder
///
/// Hashes a file or a folder and writes NAME.torrent into the current folder. Duration and thumbnail are found
/// by GStreamer unless they are given: they tell players the bitrate, so that playing starts in time.
///
///   swarm create film.mkv --tracker http://192.0.2.7:6969/announce
///   swarm create --name weather.avi --duration 4:15 --thumb weather.jpg
///   swarm create show/ --tracker udp://a.example:6969 --tracker http://b.example/announce
///   swarm create film.mkv --piece-length 256KiB --private -o /srv/film.torrent
///   swarm create film.mkv --no-date --json | jq -r .info_hash
///
/// The files of a folder are taken in the order of their names' bytes. Hidden files (.name) are left out
/// without --hidden; links are followed to files, not into folders. A file that changes while it is read is an
/// error. The same input gives the same bytes with --no-date or SOURCE_DATE_EPOCH.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// What to share
    #[arg(value_name = "FILE|DIR", required_unless_present_any = ["source", "name"])]
    path: Option<PathBuf>,
    /// What to share, as the original named it
    #[arg(long, value_name = "FILE|DIR", conflicts_with = "path")]
    source: Option<PathBuf>,
    /// Name in the torrent; without FILE|DIR also what to share
    #[arg(long, value_name = "N")]
    name: Option<String>,
    /// Duration of the media, e.g. 4:15 [default: GStreamer looks]
    #[arg(long, value_name = "TIME", value_parser = values::length)]
    duration: Option<Duration>,
    /// A JPEG to show for it [default: a picture from the film]
    #[arg(long, value_name = "JPEG")]
    thumb: Option<PathBuf>,
    /// A tracker; each one is a tier of its own, those joined by commas share one (BEP 12)
    #[arg(long = "tracker", value_name = "URL", value_parser = values::tier)]
    trackers: Vec<Vec<String>>,
    /// Bytes in a piece: auto, or a power of two from 16KiB to 64MiB
    #[arg(long, value_name = "SIZE", default_value = "auto")]
    piece_length: PieceLength,
    /// Peers shall come from the trackers only (BEP 27)
    #[arg(long)]
    private: bool,
    /// Title for players [default: the one in the film's tags]
    #[arg(long)]
    title: Option<String>,
    /// A comment for people
    #[arg(long)]
    comment: Option<String>,
    /// Take hidden files of a folder too
    #[arg(long)]
    hidden: bool,
    /// Do not let GStreamer look into the files
    #[arg(long)]
    no_media: bool,
    /// Do not write when the torrent was made
    #[arg(long)]
    no_date: bool,
    /// Where to write the torrent, `-` for standard output [default: NAME.torrent]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Write over OUT if it is there
    #[arg(long)]
    force: bool,
    /// Print one JSON object about the new torrent
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What to share, and the name that it is to have if that is another one.
    fn what(&self) -> (&Path, Option<&str>) {
        match (self.path.as_deref().or(self.source.as_deref()), self.name.as_deref()) {
            (Some(path), name) => (path, name),
            // As the original's command line has it: the name is that of the file.
            (None, name) => (Path::new(name.unwrap_or_default()), None),
        }
    }
}

/// Runs the command.
pub(super) fn run(args: Args) -> anyhow::Result<Exit> {
    let to_stdout = args.output.as_deref().is_some_and(|out| out.as_os_str() == "-");
    if to_stdout && args.json {
        return Err(Usage::new("--json and -o - both need standard output: leave one out").into());
    }
    let (path, name) = args.what();
    let source = Source::find(path, args.hidden)?;
    for path in &source.skipped {
        warn(&harmless(&format!("left out: {} is not a file that can be read", path.display())));
    }
    let name = name.unwrap_or(&source.name).to_owned();
    ensure!(!name.contains('/'), "--name {name} is a path: give the name alone, and the path as FILE|DIR");
    let out = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.torrent")));
    if !to_stdout {
        output::check_free(&out, args.force)?;
    }
    let draft = draft(&args, &source, name)?;
    check(&draft).with_context(|| format!("no torrent can be made of {}", path.display()))?;
    let bytes = encode(&draft, &hash(&source, draft.piece_length)?)?;
    let metainfo = Metainfo::parse(&bytes).context("the new torrent cannot be read back")?;
    warn_of_names(&metainfo, &source);
    if to_stdout {
        output::write(&bytes)?;
    } else {
        output::new_file(&out, &bytes, args.force)?;
        say(&harmless(&summary(&metainfo, &out)));
    }
    if args.json {
        output::json(&Description::new(&metainfo))?;
    }
    Ok(Exit::Done)
}

fn draft(args: &Args, source: &Source, name: String) -> anyhow::Result<Draft> {
    let given = args.thumb.as_deref().map(read_thumbnail).transpose()?;
    let probed = if args.no_media { Probed::default() } else { probe(source, args, given.is_none()) };
    let content = match source.single {
        true => Content::File(source.total()),
        false => Content::Folder(probed.draft_files(source, args.duration.is_some())),
    };
    if args.trackers.is_empty() {
        warn(
            "no --tracker: peers will have to be named, with --peer, the property peers, or x.pe in a swarm:// URI",
        );
    }
    Ok(Draft {
        name,
        content,
        piece_length: args.piece_length.of(source.total()),
        trackers: args.trackers.clone(),
        private: args.private,
        playtime: args.duration.or(probed.playtime),
        thumbnail: given.or(probed.thumbnail),
        title: args.title.clone().or(probed.title),
        comment: args.comment.clone(),
        creation_date: if args.no_date { None } else { Some(date()?) },
        created_by: Some(concat!("swarm ", env!("CARGO_PKG_VERSION")).to_owned()),
    })
}

/// Now, or what reproducible builds ask for (reproducible-builds.org/specs/source-date-epoch).
fn date() -> anyhow::Result<i64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().with_context(|| format!("SOURCE_DATE_EPOCH={text}: write Unix seconds")),
        Err(_) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Ok(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
        }
    }
}

pub(super) fn read_thumbnail(path: &Path) -> anyhow::Result<Bytes> {
    let failed = || format!("--thumb {} cannot be used (name a JPEG file, or leave it out)", path.display());
    let length = path.metadata().with_context(failed)?.len();
    if length > MAX_THUMBNAIL as u64 {
        let most = BinaryBytes(MAX_THUMBNAIL as u64);
        bail!(
            "--thumb {} cannot be used: {} are too much, make it smaller (at most {most})",
            path.display(),
            BinaryBytes(length)
        );
    }
    let bytes = std::fs::read(path).with_context(failed)?;
    media::check_jpeg(&bytes).with_context(failed)?;
    Ok(Bytes::from(bytes))
}

/// What GStreamer found.
#[derive(Default)]
struct Probed {
    /// Of each file of the source, where it is media.
    durations: Vec<Option<Duration>>,
    /// Of all media together; unknown when that of one of them is.
    playtime: Option<Duration>,
    thumbnail: Option<Bytes>,
    title: Option<String>,
}

impl Probed {
    /// The files of a folder. Where the user gave a duration nothing is said beside it.
    fn draft_files(&self, source: &Source, given: bool) -> Vec<DraftFile> {
        let file = |(number, file): (usize, &SourceFile)| DraftFile {
            path: file.name.clone(),
            length: file.length,
            playtime: self.durations.get(number).copied().flatten().filter(|_| !given),
        };
        source.files.iter().enumerate().map(file).collect()
    }
}

/// Lets GStreamer look for what was not given. What it does not find is a warning at most.
fn probe(source: &Source, args: &Args, picture: bool) -> Probed {
    let is_media = |(_, file): &(usize, &SourceFile)| {
        file.length > 0 && (source.single || file.name.last().is_some_and(|name| is_media_name(name)))
    };
    let films: Vec<_> = source.files.iter().enumerate().filter(is_media).take(MAX_PROBED).collect();
    let looked = |(_, film): &(usize, &SourceFile)| probe_one(film, source.single && args.duration.is_none());
    let media: Vec<_> = films.iter().map(looked).collect();
    let known: Option<Vec<_>> = media.iter().map(|media| media.as_ref()?.duration).collect();
    let mut durations = vec![None; source.files.len()];
    for ((number, _), media) in films.iter().zip(&media) {
        durations[*number] = media.as_ref().and_then(|media| media.duration);
    }
    let found = films.into_iter().zip(media).filter_map(|((_, film), media)| Some((film, media?)));
    let main = found.max_by_key(|(film, media)| (media.picture.is_some(), film.length));
    let seen = main.as_ref().filter(|(_, media)| picture && media.picture.is_some());
    Probed {
        durations,
        playtime: known.filter(|all| !all.is_empty()).map(|all| all.iter().sum()),
        thumbnail: seen.and_then(|(film, media)| make_thumbnail(film, media)),
        title: main.filter(|_| source.single).and_then(|(_, media)| media.title),
    }
}

fn make_thumbnail(film: &SourceFile, media: &Media) -> Option<Bytes> {
    let made = media::thumbnail(&film.path, media);
    made.inspect_err(|error| warn(&format!("no thumbnail: {}", chain(error)))).ok()
}

fn probe_one(file: &SourceFile, important: bool) -> Option<Media> {
    match media::probe(&file.path) {
        Ok(media) => Some(media),
        Err(error) => {
            let shown = harmless(&file.path.display().to_string());
            let advice = if important { ": give one with --duration, or --no-media" } else { "" };
            warn(&format!("{shown} tells GStreamer no duration ({}){advice}", chain(&error)));
            None
        }
    }
}

fn hash(source: &Source, piece_length: u32) -> anyhow::Result<Vec<[u8; 20]>> {
    let bar = Bar::new("hashing", source.total());
    hashing::hash(&source.files, piece_length.into(), &|bytes| bar.add(bytes))
}

/// Names that clients write differently on disk: the data would not be found again under the old ones.
fn warn_of_names(metainfo: &Metainfo, source: &Source) {
    for (file, from) in metainfo.layout.files.iter().zip(&source.files) {
        if !from.path.ends_with(&file.disk) && source.name == metainfo.name {
            let text = format!("{} is {} on other machines", from.path.display(), file.disk.display());
            warn(&harmless(&format!("{text}: rename it, or it will not be found when it is to be seeded")));
        }
    }
}

fn summary(metainfo: &Metainfo, out: &Path) -> String {
    let (geometry, files) = (metainfo.geometry, metainfo.layout.files.len());
    let playtime = metainfo.duration(None).map(|time| format!("{} long", clock(time)));
    let playtime = playtime.unwrap_or_else(|| "duration unknown".to_owned());
    format!(
        "{}: {} in {files} {}, {} pieces of {}, {playtime}, info-hash {}",
        out.display(),
        BinaryBytes(geometry.total()),
        if files == 1 { "file" } else { "files" },
        geometry.pieces(),
        pieces_of(geometry.piece_length()),
        metainfo.info_hash
    )
}

//! Films out of a swarm in playbin, playbin3 and Totem: they play to the end, every picture is the one that
//! the plain file gives, and seeks land.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use gst::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use support::commands::{self, Seed};
use support::files::{folder, scratch};
use support::media::{Container, Picture, film};
use support::network::Network;
use support::peers::{Client, Peer};
use support::player::{Frame, Player};
use support::process::{Running, bound_command};
use support::torrents::make_torrent;
use tempfile::TempDir;

/// Length of the films, each test's another: one process has one engine for each info-hash, and tests that share
/// it would feed each other.
const PLAIN_SECONDS: u32 = 11;
const URI_SECONDS: u32 = 12;
const FILE_SECONDS: u32 = 13;
const SEEK_SECONDS: u32 = 14;
/// Seeks in one film.
const SEEKS: usize = 40;
/// Pictures compared after each seek.
const FRAMES: usize = 5;
/// Pictures a second.
const FRAME_RATE: u32 = 25;
/// How long a picture is shown.
const FRAME_TIME: gst::ClockTime = gst::ClockTime::from_mseconds(40);
/// How far a seek to a key frame may go back: the films have one each second, and demuxers one more to doubt.
const KEY_FRAME_TIME: gst::ClockTime = gst::ClockTime::from_mseconds(2_080);
/// Length of Totem's film: it needs to still play when it is looked at.
const TOTEM_SECONDS: u32 = 60;
/// Both players of GStreamer.
const PLAYERS: [&str; 2] = ["playbin", "playbin3"];
/// How long Totem may take to show a film.
const TOTEM_WITHIN: Duration = Duration::from_secs(60);

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().expect("GStreamer can be initialised");
        gstswarm::plugin_register_static().expect("our plugin can be registered");
    });
}

/// The URI of a plain file.
fn file_uri(path: &Path) -> String {
    gst::glib::filename_to_uri(path, None).expect("an absolute path has a URI").into()
}

/// A film, and every picture that the plain file gives.
struct Original {
    container: Container,
    path: PathBuf,
    pictures: Vec<Frame>,
}

impl Original {
    fn new(container: Container, seconds: u32) -> Self {
        let path = film(container, Picture::Snow, seconds);
        let pictures = Player::new("playbin", &file_uri(&path), |_| {}).play_to_end();
        assert_eq!(
            pictures.len(),
            (seconds * FRAME_RATE) as usize,
            "{container}: pictures of the plain file"
        );
        Self { container, path, pictures }
    }

    /// Demands the whole film; names the first difference instead of printing hundreds of sums.
    fn assert_all_of_it(&self, shown: &[Frame], context: &str) {
        let differs = self.pictures.iter().zip(shown).position(|(a, b)| a != b);
        assert!(
            differs.is_none() && shown.len() == self.pictures.len(),
            "{} by {context}: {} pictures instead of {}, first difference at {differs:?}",
            self.container,
            shown.len(),
            self.pictures.len(),
        );
    }

    /// Seeks `seeks` times, by turns to a key frame and to the exact place, and demands that what is shown
    /// then are pictures of this film, one after another, from the right place on.
    fn assert_seeks_land(&self, player: &mut Player, seeks: usize, seed: u64, context: &str) {
        println!("{} by {context}: {seeks} seeks with seed {seed}", self.container);
        let mut rng = Pcg64::seed_from_u64(seed);
        player.preroll();
        let duration = player.duration();
        for number in 0..seeks {
            let to = gst::ClockTime::from_nseconds(rng.random_range(0..duration.nseconds()));
            let flags = if number % 2 == 0 { gst::SeekFlags::KEY_UNIT } else { gst::SeekFlags::ACCURATE };
            let shown = player.frames_after_seek(to, flags, FRAMES);
            if let Err(why) = self.landed(to, flags, &shown) {
                panic!(
                    "{} by {context}, seed {seed}, seek {number} to {to} ({flags:?}): {why}",
                    self.container
                );
            }
        }
    }

    fn landed(&self, to: gst::ClockTime, flags: gst::SeekFlags, shown: &[Frame]) -> Result<(), String> {
        let Some(first) = shown.first() else {
            // Behind the start of the last picture there may be sound only.
            let last = self.pictures.last().and_then(|picture| picture.time);
            return if last.is_some_and(|last| last <= to) { Ok(()) } else { Err("nothing is shown".into()) };
        };
        let exact = flags.contains(gst::SeekFlags::ACCURATE);
        if self.container == Container::MpegTs && !exact {
            // tsdemux goes back by guess and starts anywhere: the decoder shows damaged pictures at first,
            // for a plain file as well. That it shows any is all that can be asked.
            return Ok(());
        }
        let is_here =
            |run: &[Frame]| run.iter().map(|frame| frame.sum).eq(shown.iter().map(|frame| frame.sum));
        let at = self.pictures.windows(shown.len()).position(is_here);
        let at =
            at.ok_or_else(|| format!("{} pictures from {:?} are not in the film", shown.len(), first.time))?;
        let from = self.pictures[at].time.ok_or("a picture of the film has no time")?;
        let earliest = to.saturating_sub(if exact { FRAME_TIME * 2 } else { KEY_FRAME_TIME });
        let end = self.pictures.get(at + 1).and_then(|next| next.time).unwrap_or(from + FRAME_TIME);
        // An MPEG-TS film starts a little after zero, with its first picture.
        let before_all = at == 0 && to <= from;
        let right = before_all || (earliest..=to + FRAME_TIME).contains(&from) || (from..end).contains(&to);
        if right { Ok(()) } else { Err(format!("the film goes on at {from}")) }
    }
}

/// A seed on loopback that serves torrents of one film.
struct Server {
    scratch: TempDir,
    seed: Seed,
    torrents: Vec<PathBuf>,
}

impl Server {
    /// One torrent for each of `piece_lengths`: each has an info-hash, and so an engine, of its own.
    fn start(original: &Path, piece_lengths: &[&str], options: &[&str]) -> Self {
        let scratch = scratch("film");
        let at = scratch.path();
        let tracker = Network::Loopback.free_address();
        let announce = format!("http://{tracker}/announce");
        // A copy: a seed locks what it shares, and other tests share the same film.
        let content = folder(at, "content");
        let copy = content.join(original.file_name().expect("a film has a name"));
        std::fs::copy(original, &copy).expect("a film can be copied");
        let create = |length: &&str| {
            let out = at.join(format!("film {length}.torrent"));
            commands::create(&out, &copy, &["--tracker", &announce, "--piece-length", length])
        };
        let torrents: Vec<_> = piece_lengths.iter().map(create).collect();
        let seed = Seed::start(&Network::Loopback, at, &content, tracker, &torrents, options);
        Self { scratch, seed, torrents }
    }

    /// A folder for a player's files.
    fn place(&self, name: &str) -> PathBuf {
        folder(self.scratch.path(), name)
    }
}

/// A player whose swarm elements keep their files in `place`.
fn swarm_player(factory: &str, uri: &str, place: PathBuf) -> Player {
    Player::new(factory, uri, move |element| {
        if element.has_property("download-dir") {
            element.set_property("download-dir", place.to_str().expect("our own paths are UTF-8"));
            element.set_property("bind-address", "127.0.0.1");
            element.set_property("linger", 0_u64);
        }
    })
}

#[test]
fn the_harness_finds_the_pictures_of_a_plain_file_after_every_seek() {
    init();
    for container in Container::ALL {
        let original = Original::new(container, PLAIN_SECONDS);
        for factory in PLAYERS {
            let mut player = Player::new(factory, &file_uri(&original.path), |_| {});
            original.assert_seeks_land(&mut player, 10, 7, factory);
        }
    }
}

#[test]
fn the_harness_notices_wrong_pictures_and_wrong_places() {
    init();
    let original = Original::new(Container::Mkv, PLAIN_SECONDS);
    let second = gst::ClockTime::SECOND;
    let exact = gst::SeekFlags::ACCURATE;
    let from = |at: usize| original.pictures[at..at + FRAMES].to_vec();
    assert_eq!(original.landed(second * 4, exact, &from(100)), Ok(()));
    assert!(original.landed(second * 4, exact, &from(75)).is_err(), "a second too early");
    assert_eq!(original.landed(second * 4, gst::SeekFlags::KEY_UNIT, &from(76)), Ok(()));
    assert!(original.landed(second * 4, exact, &from(103)).is_err(), "too late");
    assert!(original.landed(second * 4, exact, &[]).is_err(), "nothing");
    assert_eq!(original.landed(second * 11, exact, &[]), Ok(()));
    let mut torn = from(100);
    torn.remove(2);
    assert!(original.landed(second * 4, exact, &torn).is_err(), "a picture is missing");
    torn.insert(2, original.pictures[0].clone());
    assert!(original.landed(second * 4, exact, &torn).is_err(), "a picture is another one");
}

#[test]
fn every_container_plays_to_its_end_by_swarm_uri_from_a_stock_seed() {
    init();
    let scratch = scratch("uri");
    let at = scratch.path();
    for container in Container::ALL {
        let original = Original::new(container, URI_SECONDS);
        for (number, factory) in PLAYERS.iter().enumerate() {
            // Each player has an info-hash, and so an engine, of its own. These torrents name no duration.
            let torrent = at.join(format!("{container} {factory}.torrent"));
            let torrent = make_torrent(&torrent, &original.path, (16 << 10) << number, None);
            let content = original.path.parent().expect("a film is in a folder");
            let seed = Peer::seed(Client::Libtorrent, &Network::Loopback, at, content, &torrent);
            let uri = commands::swarm_uri(&torrent, seed.address());
            let place = folder(at, &format!("{container} {factory}"));
            original.assert_all_of_it(&swarm_player(factory, &uri, place).play_to_end(), factory);
        }
    }
}

#[test]
fn every_container_plays_to_its_end_by_torrent_file_from_our_seed() {
    init();
    for container in Container::ALL {
        let original = Original::new(container, FILE_SECONDS);
        let server = Server::start(&original.path, &["32KiB", "64KiB"], &[]);
        for (torrent, factory) in server.torrents.iter().zip(PLAYERS) {
            let mut player = swarm_player(factory, &file_uri(torrent), server.place(factory));
            original.assert_all_of_it(&player.play_to_end(), factory);
        }
    }
}

#[test]
fn seeks_land_while_the_film_is_still_arriving() {
    init();
    for container in Container::ALL {
        let original = Original::new(container, SEEK_SECONDS);
        // The film takes a few seconds to arrive: many seeks go where nothing is yet.
        let server = Server::start(&original.path, &["16KiB", "32KiB"], &["--max-upload-rate", "600KiB"]);
        for (torrent, factory) in server.torrents.iter().zip(PLAYERS) {
            let uri = commands::swarm_uri(torrent, server.seed.address());
            let mut player = swarm_player(factory, &uri, server.place(factory));
            original.assert_seeks_land(&mut player, SEEKS, seek_seed(), factory);
        }
    }
}

/// `SWARM_TEST_SEED`, or always the same.
fn seek_seed() -> u64 {
    std::env::var("SWARM_TEST_SEED").map_or(42, |text| text.parse().expect("SWARM_TEST_SEED is a number"))
}

#[test]
fn totem_plays_a_torrent_given_by_its_path() {
    init();
    let original = film(Container::Mp4, Picture::Bars, TOTEM_SECONDS);
    let server = Server::start(&original, &["32KiB"], &[]);
    let at = server.scratch.path();
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("totem.png");
    let mut totem = bound_command(concat!(env!("CARGO_MANIFEST_DIR"), "/gst-tests/totem.sh"));
    commands::with_plugin(&mut totem).arg(&server.torrents[0]).arg(&picture);
    Running::start("totem", at, totem).until_succeeded(TOTEM_WITHIN);
}

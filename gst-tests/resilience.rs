//! What may go wrong with the machine and the network: the process is killed, the disk is full or read-only, the
//! seed or the tracker is away for a while, several want the same torrent. Nothing is fetched twice that was
//! there, nothing is spoiled, and users are told what is the matter.

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use gst::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use support::commands;
use support::files::{assert_same, folder, scratch};
use support::film::Film;
use support::mount::Mount;
use support::network::{Network, free_port};
use support::process::Running;
use support::stranger::{Stranger, address, honest};
use support::subject::{self, Door};
use support::wait;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The film, ...
const PIECE: u32 = 256 << 10;
const LENGTH: u64 = 64 * PIECE as u64 + 12_345;
/// ... and what its seed gives in a second.
const PACE: u64 = 6 << 20;
/// What may be lost in a crash: half-fetched pieces, and what the sockets hold.
const LOST_IN_A_CRASH: u64 = 1 << 20;
/// How often a download is killed.
const KILLS: u32 = 4;
/// Group of the seeds' addresses (see `stranger::address`); each test has a number of its own.
const SEEDS: u8 = 40;

#[test]
fn the_element_in_a_process_of_its_own() {
    subject::play_as_child();
}

fn seed(number: u16, film: &Arc<Film>, pace: u64) -> Stranger {
    Stranger::listens(address(SEEDS, number), film, honest(Some(pace)))
}

/// Kills the download again and again at random places; `SWARM_TEST_SEED` is another seed of theirs.
fn survives_being_killed(door: Door, number: u16, luck: u64) {
    let luck = std::env::var("SWARM_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(luck);
    let scratch = scratch("killed");
    let film = Film::new(scratch.path(), LENGTH, PIECE, luck, None);
    let seed = seed(number, &film, PACE / 2);
    let folder = scratch.path().join("subject");
    let mut rng = Pcg64::seed_from_u64(luck);
    let mut there = 0;
    for _ in 0..KILLS {
        let mut subject = door.start(&folder, &film, &[seed.address()], false);
        let until = (there + rng.random_range(0..LENGTH / 3)).min(LENGTH * 9 / 10);
        println!("{door:?}, seed {luck}: killed at {until} bytes");
        let figures =
            subject.until("enough", PATIENCE, |f| f["have"].as_u64().is_some_and(|have| have >= until));
        subject.process.kill();
        there = figures["have"].as_u64().unwrap_or(0);
    }
    let mut subject = door.start(&folder, &film, &[seed.address()], false);
    subject.until_complete(&film, PATIENCE);
    subject.assert_sound();
    let given = seed.tally().given();
    let most = film.length() + u64::from(KILLS) * LOST_IN_A_CRASH;
    assert!(given <= most, "{given} bytes were given for a film of {} and {KILLS} crashes", film.length());
    println!("{door:?}: {given} bytes for {}", film.length());
}

#[test]
fn get_fetches_nothing_twice_after_kill_9() {
    survives_being_killed(Door::Get, 0, 11);
}

#[test]
fn swarmsrc_fetches_nothing_twice_after_kill_9() {
    survives_being_killed(Door::Element, 1, 12);
}

#[test]
fn get_on_a_full_disk_says_so_and_goes_on_when_there_is_room() {
    let scratch = scratch("full");
    let film = Film::new(scratch.path(), LENGTH, PIECE, 13, None);
    let seed = seed(2, &film, 4 * PACE);
    let folder = scratch.path().join("subject");
    let Some(disk) = Mount::new(&folder, "size=9m") else { return };
    let mut subject = Door::Get.start(&folder, &film, &[seed.address()], false);
    let status = subject.process.until_ended(PATIENCE);
    let story = subject.process.story();
    assert_eq!(status.code(), Some(1), "{story}");
    for word in [folder.join("film.bin").to_str().expect("UTF-8"), "full", "No space left"] {
        assert!(story.contains(word), "`{word}` is missing in\n{story}");
    }
    let before = seed.tally().given();
    disk.remount("size=40m");
    let mut subject = Door::Get.start(&folder, &film, &[seed.address()], false);
    subject.until_complete(&film, PATIENCE);
    subject.assert_sound();
    let (again, kept) = (seed.tally().given() - before, 5 << 20);
    assert!(again < film.length() - kept, "{again} bytes were given again");
    subject.process.interrupt();
}

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().expect("GStreamer can be initialised");
        gstswarm::plugin_register_static().expect("our plugin can be registered");
    });
}

/// `swarmsrc ! filesink`; `more` are further properties of the source.
fn pipeline(film: &Film, peer: &Stranger, copy: &Path, more: &str) -> gst::Pipeline {
    init();
    let line = format!(
        "swarmsrc name=s location={} peers={} bind-address=127.0.0.1 trackers=false {more} ! filesink location={}",
        film.torrent.display(),
        peer.address(),
        copy.display(),
    );
    let pipeline = gst::parse::launch(&line).expect("the pipeline can be made");
    pipeline.downcast().expect("several elements make a pipeline")
}

/// Plays to the end or to an error.
fn play(pipeline: &gst::Pipeline) -> Result<(), glib::Error> {
    let bus = pipeline.bus().expect("a pipeline has a bus");
    // A failure comes as a message too.
    let _ = pipeline.set_state(gst::State::Playing);
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let patience = gst::ClockTime::from_seconds(PATIENCE.as_secs());
    let message = bus.timed_pop_filtered(patience, &kinds).expect("it ends in time");
    pipeline.set_state(gst::State::Null).expect("it can always be stopped");
    match message.view() {
        gst::MessageView::Error(error) => Err(error.error()),
        _ => Ok(()),
    }
}

#[test]
fn swarmsrc_on_a_full_disk_says_so_and_plays_when_there_is_room() {
    let scratch = scratch("full-element");
    let film = Film::new(scratch.path(), LENGTH, PIECE, 14, None);
    let seed = seed(3, &film, 4 * PACE);
    let (disk, copy) = (scratch.path().join("disk"), scratch.path().join("copy.bin"));
    let Some(mount) = Mount::new(&disk, "size=9m") else { return };
    let pipeline = pipeline(&film, &seed, &copy, &format!("download-dir={}", disk.display()));
    let error = play(&pipeline).expect_err("the disk is full");
    assert!(error.matches(gst::ResourceError::NoSpaceLeft), "{error}");
    assert!(error.message().contains(disk.join("film.bin").to_str().expect("UTF-8")), "{error}");
    // The same element in the same process, within the time in which the engine lingers.
    mount.remount("size=40m");
    play(&pipeline).expect("there is room now");
    assert_same(&film.path, &copy);
    assert_same(&film.path, &disk.join("film.bin"));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let scratch = scratch("read-only");
    let film = Film::new(scratch.path(), LENGTH, PIECE, 15, None);
    let seed = seed(4, &film, PACE);
    let (disk, copy) = (scratch.path().join("disk"), scratch.path().join("copy.bin"));
    let Some(_mount) = Mount::new(&disk, "size=1m,ro") else { return };
    let mut subject = Door::Get.start(&disk, &film, &[seed.address()], false);
    assert_eq!(subject.process.until_ended(PATIENCE).code(), Some(1), "{}", subject.process.story());
    let story = subject.process.story();
    assert!(story.contains(disk.to_str().expect("UTF-8")) && story.contains("Read-only"), "{story}");

    let pipeline = pipeline(&film, &seed, &copy, &format!("download-dir={}", disk.display()));
    let error = play(&pipeline).expect_err("the folder is read-only");
    assert!(error.matches(gst::ResourceError::Write), "{error}");
    assert!(error.message().contains("Read-only"), "{error}");
}

#[test]
fn of_two_processes_in_one_folder_the_second_is_told_who_has_it() {
    let scratch = scratch("two");
    let film = Film::new(scratch.path(), LENGTH, PIECE, 16, None);
    let seed = seed(5, &film, PACE);
    let folder = scratch.path().join("subject");
    let first = Door::Get.start(&folder, &film, &[seed.address()], false);
    first.until("the first pieces", PATIENCE, |figures| figures["have"].as_u64() > Some(0));
    let command = commands::get(&Network::Loopback, &film.torrent, &folder, seed.address());
    let mut second = Running::start("second", scratch.path(), command);
    assert_eq!(second.until_ended(PATIENCE).code(), Some(1), "{}", second.story());
    let holder = format!("in use by process {}", first.process.id());
    assert!(second.log().contains(&holder), "{}", second.story());

    let copy = scratch.path().join("copy.bin");
    let pipeline = pipeline(&film, &seed, &copy, &format!("download-dir={}", folder.display()));
    let error = play(&pipeline).expect_err("another process has it");
    assert!(error.matches(gst::ResourceError::Busy), "{error}");
    assert!(error.message().contains(&holder), "{error}");
    first.until_complete(&film, PATIENCE);
}

#[test]
fn two_processes_of_one_user_both_play_a_film() {
    let scratch = scratch("two-players");
    let film = Film::new(scratch.path(), LENGTH, PIECE, 18, None);
    let seed = seed(9, &film, PACE);
    let home = folder(scratch.path(), "home");
    let mut players = ["one", "two"].map(|name| {
        let copy = scratch.path().join(name);
        let command = commands::cached_element(
            &Network::Loopback,
            &home,
            &film.torrent,
            &copy,
            seed.address(),
            &["linger=0"],
        );
        (Running::start(name, scratch.path(), command), copy)
    });
    for (player, copy) in &mut players {
        player.until_succeeded(PATIENCE);
        assert_same(&film.path, copy);
    }
}

#[test]
fn two_elements_of_one_process_share_an_engine() {
    let scratch = scratch("shared");
    let film = Film::new(scratch.path(), LENGTH, PIECE, 17, None);
    let seed = seed(6, &film, PACE);
    let place = format!("download-dir={}", folder(scratch.path(), "kept").display());
    let copies = ["one.bin", "two.bin"].map(|name| scratch.path().join(name));
    let pipelines = copies.each_ref().map(|copy| pipeline(&film, &seed, copy, &place));
    std::thread::scope(|scope| {
        for pipeline in &pipelines {
            scope.spawn(|| play(pipeline).expect("it plays"));
        }
    });
    copies.iter().for_each(|copy| assert_same(&film.path, copy));
    assert_eq!(seed.tally().met(), 1, "connections");
    assert!(seed.tally().given() <= film.length() + u64::from(PIECE), "{} bytes", seed.tally().given());
}

/// Bytes that the files below a folder take on disk.
fn used(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |path: PathBuf| {
        if path.is_dir() {
            used(&path)
        } else {
            path.metadata().map_or(0, |metadata| metadata.blocks() * 512)
        }
    };
    entries.filter_map(Result::ok).map(|entry| size(entry.path())).sum()
}

#[test]
fn a_film_larger_than_the_cache_plays_through_it() {
    let scratch = scratch("cache");
    // The least that a torrent may keep is 64 MiB (`MIN_KEEP` in `store/cache.rs`).
    let (least, slack) = (64 << 20, 16 << 20);
    let film = Film::new(scratch.path(), 2 * least + 12_345, 1 << 20, 18, None);
    let seed = seed(7, &film, 16 * PACE);
    let (home, copy) = (folder(scratch.path(), "home"), scratch.path().join("copy.bin"));
    let line = format!(
        "swarmsrc name=s location={} peers={} bind-address=127.0.0.1 trackers=false cache-size=1000000 \
         ! filesink location={}",
        film.torrent.display(),
        seed.address(),
        copy.display(),
    );
    let mut player = Running::start("player", scratch.path(), subject::child(&line, &home));
    let most = wait::until_some(
        "the film to be played",
        PATIENCE,
        {
            let mut most = 0;
            let player = &player;
            let home = &home;
            move || {
                most = used(home).max(most);
                player.log().contains("\"ended\":true").then_some(most)
            }
        },
        || player.story(),
    );
    assert_same(&film.path, &copy);
    assert!((least / 2..least + slack).contains(&most), "{most} bytes were kept");
    assert!(player.close().success() && !player.log().contains("panicked"), "{}", player.story());
}

fn goes_on_when_the_seed_comes_back(door: Door, number: u16) {
    let scratch = scratch("away");
    let film = Film::new(scratch.path(), LENGTH, PIECE, u64::from(number), None);
    let mut seed = seed(number, &film, PACE);
    let mut subject = door.start(&scratch.path().join("subject"), &film, &[seed.address()], false);
    subject.until("half of it", PATIENCE, |f| f["have"].as_u64() > Some(LENGTH / 2));
    let at = seed.address();
    seed.end();
    let before = seed.tally().given();
    subject.until("nobody to be there", PATIENCE, |figures| figures["peers"] == 0);
    let seed = Stranger::listens_at(at, &film, honest(Some(PACE)));
    subject.until_complete(&film, PATIENCE);
    subject.assert_sound();
    let given = before + seed.tally().given();
    assert!(given <= film.length() + LOST_IN_A_CRASH, "{given} bytes");
}

#[test]
fn get_goes_on_when_the_seed_comes_back() {
    goes_on_when_the_seed_comes_back(Door::Get, 8);
}

#[test]
fn swarmsrc_goes_on_when_the_seed_comes_back() {
    goes_on_when_the_seed_comes_back(Door::Element, 9);
}

fn finds_the_tracker_when_it_comes(scheme: &str, door: Door) {
    let scratch = scratch("tracker-away");
    let tracker = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let film = Film::new(scratch.path(), LENGTH, PIECE, 19, Some(&format!("{scheme}://{tracker}/announce")));
    let mut subject = door.start(&scratch.path().join("subject"), &film, &[], true);
    subject.until("figures", PATIENCE, |figures| figures["state"] == "downloading");
    if door == Door::Get {
        subject.process.until_printed("no tracker answers", PATIENCE);
    }
    let original = film.path.parent().expect("it is in a folder");
    let torrents = [film.torrent.clone()];
    let mut seed =
        commands::Seed::start(&Network::Loopback, scratch.path(), original, tracker, &torrents, &[]);
    subject.until_complete(&film, PATIENCE);
    subject.assert_sound();
    seed.stop();
}

#[test]
fn get_finds_an_http_tracker_that_comes_later() {
    finds_the_tracker_when_it_comes("http", Door::Get);
}

#[test]
fn swarmsrc_finds_a_udp_tracker_that_comes_later() {
    finds_the_tracker_when_it_comes("udp", Door::Element);
}

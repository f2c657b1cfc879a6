//! Swarms in the simulator: what users feel, with many peers, bad peers and bad luck.
//!
//! Every scenario runs with several seeds; a failure names its seed (`SWARM_SEEDS=200` runs more of them,
//! `SWARM_FIRST=17` begins with that one).

use std::time::Duration;

use gstswarm::rate::ByteRate;
use gstswarm::sim::behaviour::Behaviour;
use gstswarm::sim::disk::DiskPlan;
use gstswarm::sim::host::HostPlan;
use gstswarm::sim::hostile::{
    Babbler, Bursty, Faltering, Liar, Moody, Patchy, Pusher, Refuser, Silent, Spoiler,
};
use gstswarm::sim::link::{Change, Link};
use gstswarm::sim::report::Report;
use gstswarm::sim::scenario::{Film, Scenario, config, plan};
use gstswarm::sim::viewer::{Pace, ViewerPlan};
use gstswarm::swarm::Config;
use gstswarm::swarm::event::{Ban, State};
use gstswarm::swarm::policy::Policy;
use gstswarm::swarm::serving::Serving;
use rand::RngExt as _;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// A minute of 4 Mbit/s.
const FILM: Film = Film { seconds: 60, bitrate: 500_000, piece_length: 256 * 1024 };

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// The same with pieces of 64 KiB, 256 KiB or 1 MiB, by the seed.
fn film(seed: u64) -> Film {
    Film { piece_length: [64, 256, 1024][seed as usize % 3] * 1024, ..FILM }
}

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Runs a scenario with so many seeds (or as many as `SWARM_SEEDS` says), on all cores, and names the seed that
/// fails.
fn with_seeds(default: u64, run: impl Fn(u64) + Sync + std::panic::RefUnwindSafe) {
    let first = environment("SWARM_FIRST", 0);
    let seeds: Vec<_> = (first..first + environment("SWARM_SEEDS", default)).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for part in seeds.chunks(seeds.len().div_ceil(threads)) {
            let run = &run;
            scope.spawn(move || {
                for seed in part {
                    let result = std::panic::catch_unwind(|| run(*seed));
                    assert!(result.is_ok(), "failed with SWARM_FIRST={seed}");
                }
            });
        }
    });
}

/// A distance and some bad luck, different for each seed.
fn somewhere(scenario: &mut Scenario, link: Link) -> Link {
    let latency = ms(scenario.rng().random_range(1..40));
    let jitter = ms(scenario.rng().random_range(0..20));
    let loss = scenario.rng().random_range(0..20);
    link.latency(latency).jitter(jitter).loss(loss)
}

/// Bytes/s that a link has for payload: frames have 13 bytes in front of each block, and there are others.
fn payload(rate: u64) -> u64 {
    rate * 16_384 / 16_397
}

#[test]
fn a_seed_below_the_bitrate_starts_by_the_start_rule_and_never_stalls() {
    with_seeds(20, |seed| {
        let mut scenario = Scenario::new(seed, film(seed));
        let link = somewhere(&mut scenario, Link::up(FILM.bitrate * 8 / 10));
        scenario.seed(link);
        scenario.viewer(Link::unlimited(), ViewerPlan::default());
        let report = scenario.run();
        let notes = report.viewer();
        assert_eq!((notes.stalls, notes.underruns, notes.hundreds), (0, 0, 1), "{report}");
        assert_eq!(notes.bytes, FILM.total(), "{report}");
        // 60 s of film take 75 s: it cannot start before 15 s, and should not wait much longer.
        let start = notes.start_up.expect("it starts");
        assert!((s(15)..s(24)).contains(&start), "{report}");
    });
}

#[test]
fn a_seed_above_the_bitrate_starts_soon() {
    with_seeds(20, |seed| {
        let mut scenario = Scenario::new(seed, film(seed));
        let link = somewhere(&mut scenario, Link::up(FILM.bitrate * 12 / 10));
        scenario.seed(link);
        scenario.viewer(Link::unlimited(), ViewerPlan::default());
        let report = scenario.run();
        let notes = report.viewer();
        assert_eq!((notes.stalls, notes.underruns, notes.hundreds), (0, 0, 1), "{report}");
        assert!(notes.start_up.expect("it starts") <= s(3), "{report}");
    });
}

#[test]
fn a_seed_that_drops_to_half_costs_one_stall_and_playback_goes_on() {
    with_seeds(20, |seed| {
        let mut scenario = Scenario::new(seed, film(seed));
        let rate = FILM.bitrate * 105 / 100;
        let link = somewhere(&mut scenario, Link::up(rate));
        let slow = scenario.seed(link);
        scenario.change(s(25), slow, Change::Up(rate / 2));
        scenario.change(s(35), slow, Change::Up(rate));
        scenario.viewer(Link::unlimited(), ViewerPlan::default());
        let report = scenario.run();
        let notes = report.viewer();
        assert_eq!((notes.stalls, notes.underruns), (1, 0), "{report}");
        assert_eq!(notes.hundreds, 2, "one at the start, one after the stall: {report}");
        assert_eq!(report.rows[1].stalls, [1], "{report}");
        assert_eq!(notes.bytes, FILM.total(), "{report}");
        assert!(notes.stall_time < s(16), "{report}");
    });
}

#[test]
fn eight_slow_seeds_add_up() {
    let film = Film { seconds: 60, bitrate: 19 * MIB / 10, piece_length: 256 * 1024 };
    with_seeds(6, |seed| {
        let mut scenario = Scenario::new(seed, film);
        for _ in 0..8 {
            scenario.seed(Link::up(256 * KIB).latency(ms(1)));
        }
        scenario.viewer(Link::unlimited(), ViewerPlan::default());
        let report = scenario.run();
        let row = &report.rows[8];
        let notes = report.viewer();
        assert_eq!((notes.stalls, notes.underruns), (0, 0), "{report}");
        assert!(notes.start_up.expect("it starts") <= ms(2_500), "{report}");
        assert!(row.mean_rate(s(0)).get() * 100 >= payload(8 * 256 * KIB) * 98, "{report}");
        assert!(row.waste() < 300, "{report}");
    });
}

/// From a seek to the first bytes of a place that is not there yet.
fn seek_latency(seed: u64, delay: Duration, piece_length: u32) -> (Duration, Report) {
    let film = Film { seconds: 600, bitrate: 600_000, piece_length };
    let mut scenario = Scenario::new(seed, film);
    scenario.seed(Link::up(4 * MIB).latency(delay / 2));
    let byte = scenario.rng().random_range(film.total() / 2..film.total() * 9 / 10);
    let at = ms(scenario.rng().random_range(8_000..12_000));
    scenario.viewer(Link::unlimited(), ViewerPlan { seeks: vec![(at, byte)], ..ViewerPlan::default() });
    scenario.limit(s(20));
    let report = scenario.run();
    (report.viewer().seeks.first().copied().unwrap_or(Duration::MAX), report)
}

#[test]
fn a_seek_to_a_place_not_there_yet_is_answered_at_once() {
    with_seeds(10, |seed| {
        for piece in [256 * KIB, MIB] {
            for delay in [ms(0), ms(50)] {
                // The chunk that is read may lie in two pieces.
                let bound = 2 * ByteRate(4 * MIB).time_for(piece).expect("a rate") + 2 * delay + ms(30);
                let (latency, report) = seek_latency(seed, delay, piece as u32);
                assert!(latency <= bound, "{latency:?} > {bound:?}, pieces of {piece}, {delay:?}: {report}");
            }
        }
    });
}

#[test]
fn a_fast_far_seed_is_used_to_the_full() {
    with_seeds(3, |seed| {
        let film = Film { seconds: 60, bitrate: 8 * MIB, piece_length: 1024 * 1024 };
        let mut scenario = Scenario::new(seed, film);
        scenario.seed(Link::up(100 * MIB).latency(ms(25)));
        scenario.viewer(Link::unlimited(), ViewerPlan { pace: Pace::Greedy, ..ViewerPlan::default() });
        let report = scenario.run();
        // The pipeline doubles each round trip: half a second is enough for it.
        let joined = ms(500);
        assert!(report.rows[1].mean_rate(joined).get() * 100 >= payload(100 * MIB) * 90, "{report}");
    });
}

#[test]
fn a_seed_that_gives_in_bursts_is_not_left_idle() {
    with_seeds(5, |seed| {
        let mut scenario = Scenario::new(seed, Film { seconds: 60, bitrate: MIB, piece_length: 256 * 1024 });
        let bursty = Bursty::new(2 * MIB, ms(250));
        let latency = ms(scenario.rng().random_range(0..30));
        scenario.scripted(Link::up(50 * MIB).latency(latency), Box::new(bursty));
        scenario.viewer(Link::unlimited(), ViewerPlan::default());
        let report = scenario.run();
        assert!(report.rows[1].mean_rate(s(0)).get() * 100 >= 2 * MIB * 95, "{report}");
    });
}

#[test]
fn slow_peers_do_not_hold_up_the_playhead() {
    with_seeds(10, |seed| {
        let mut scenario = Scenario::new(seed, film(seed));
        for rate in [900, 3, 6, 8, 10, 1, 1] {
            let link = somewhere(&mut scenario, Link::up(rate * KIB));
            scenario.seed(link);
        }
        scenario.viewer(Link::unlimited(), ViewerPlan::default());
        let report = scenario.run();
        let notes = report.viewer();
        assert_eq!((notes.stalls, notes.underruns), (0, 0), "{report}");
        assert!(notes.start_up.expect("it starts") <= s(4), "{report}");
        assert!(report.rows[7].waste() < 300, "{report}");
    });
}

/// A viewer among two honest seeds and these.
fn among(seed: u64, hostile: Vec<Box<dyn Behaviour>>) -> (Report, usize) {
    let mut scenario = Scenario::new(seed, Film { seconds: 30, ..FILM });
    for _ in 0..2 {
        let link = somewhere(&mut scenario, Link::up(600 * KIB));
        scenario.seed(link);
    }
    for behaviour in hostile {
        let link = somewhere(&mut scenario, Link::up(MIB));
        scenario.scripted(link, behaviour);
    }
    let viewer = scenario.viewer(Link::unlimited(), ViewerPlan::default());
    (scenario.run(), viewer.0)
}

/// The film is seen whole, and the honest seeds (hosts 0 and 1) are not banned.
#[track_caller]
fn assert_unharmed(report: &Report, viewer: usize) {
    let row = &report.rows[viewer];
    assert_eq!(row.viewers[0].bytes, 30 * FILM.bitrate, "{report}");
    assert_eq!(row.viewers[0].underruns, 0, "{report}");
    assert_eq!(row.stats.state, State::Seeding, "{report}");
    for honest in ["10.0.0.1", "10.0.0.2"] {
        assert!(row.bans.iter().all(|(addr, _)| addr.to_string() != honest), "{report}\n{:?}", row.bans);
    }
}

#[test]
fn who_spoils_pieces_is_found_and_banned() {
    with_seeds(10, |seed| {
        let (report, viewer) = among(seed, vec![Box::new(Spoiler), Box::new(Spoiler)]);
        assert_unharmed(&report, viewer);
        let bans = &report.rows[viewer].bans;
        assert_eq!(bans.len(), 2, "{report}\n{bans:?}");
        assert!(bans.iter().all(|(_, why)| *why == Ban::BadData));
    });
}

#[test]
fn who_breaks_the_protocol_is_banned() {
    with_seeds(10, |seed| {
        let (report, viewer) = among(seed, vec![Box::new(Babbler), Box::new(Pusher)]);
        assert_unharmed(&report, viewer);
        let bans = &report.rows[viewer].bans;
        // What is pushed may hit a block that was asked for, and then it is the data that is wrong.
        let babbler = bans.iter().find(|(addr, _)| addr.to_string() == "10.0.0.3");
        assert!(bans.len() == 2 && babbler.is_some_and(|b| b.1 == Ban::Protocol), "{report}\n{bans:?}");
    });
}

#[test]
fn who_gives_nothing_costs_little() {
    with_seeds(10, |seed| {
        let (report, viewer) = among(
            seed,
            vec![
                Box::new(Silent),
                Box::new(Silent),
                Box::new(Silent),
                Box::new(Refuser),
                Box::new(Faltering { blocks: 20 }),
            ],
        );
        assert_unharmed(&report, viewer);
        let notes = report.viewer();
        assert!(notes.start_up.expect("it starts") <= s(6), "{report}");
        assert!(notes.stalls == 0 && report.rows[viewer].waste() < 300, "{report}");
    });
}

#[test]
fn who_changes_its_mind_all_the_time_is_no_harm() {
    with_seeds(10, |seed| {
        let (report, viewer) = among(
            seed,
            vec![
                Box::new(Moody { fast: true }),
                Box::new(Moody { fast: false }),
                Box::new(Liar),
                Box::new(Patchy),
            ],
        );
        assert_unharmed(&report, viewer);
        assert_eq!(report.rows[viewer].bans, [], "awkward is not hostile: {report}");
    });
}

#[test]
fn all_of_them_at_once_do_not_keep_the_film_away() {
    with_seeds(10, |seed| {
        let (report, viewer) = among(
            seed,
            vec![
                Box::new(Spoiler),
                Box::new(Silent),
                Box::new(Moody { fast: true }),
                Box::new(Moody { fast: false }),
                Box::new(Refuser),
                Box::new(Babbler),
                Box::new(Pusher),
                Box::new(Liar),
                Box::new(Patchy),
                Box::new(Faltering { blocks: 30 }),
            ],
        );
        assert_unharmed(&report, viewer);
    });
}

#[test]
fn silent_peers_alone_beside_one_seed_do_not_keep_blocks_for_ever() {
    with_seeds(10, |seed| {
        let mut scenario = Scenario::new(seed, Film { seconds: 20, ..FILM });
        for _ in 0..10 {
            let link = somewhere(&mut scenario, Link::unlimited());
            scenario.scripted(link, Box::new(Silent));
        }
        let link = somewhere(&mut scenario, Link::up(MIB));
        scenario.seed(link);
        scenario.viewer(Link::unlimited(), ViewerPlan::default());
        let report = scenario.run();
        assert_eq!(report.viewer().bytes, 20 * FILM.bitrate, "{report}");
        assert_eq!(report.viewer().stalls, 0, "{report}");
    });
}

#[test]
fn a_swarm_of_thirty_leechers_feeds_itself() {
    with_seeds(3, |seed| {
        let film = Film { seconds: 20, bitrate: 500_000, piece_length: 64 * 1024 };
        let mut scenario = Scenario::new(seed, film);
        let link = somewhere(&mut scenario, Link::up(MIB));
        scenario.engine_seed(link);
        for n in 0..30 {
            let link = somewhere(&mut scenario, Link::up(512 * KIB).down(4 * MIB));
            scenario.leecher(link, ms(200 * n));
        }
        let report = scenario.run();
        let (source, leechers) = report.rows.split_first().expect("there is a seed");
        assert!(leechers.iter().all(|r| r.stats.have == film.total()), "{report}");
        let given: u64 = leechers.iter().map(|r| r.stats.uploaded).sum();
        assert!(given > 2 * source.stats.uploaded, "leechers give most of it: {report}");
        assert!(leechers.iter().filter(|r| r.stats.uploaded > 0).count() >= 25, "{report}");
        // One seed alone would take 300 s.
        assert!(report.end.micros() < 100_000_000, "{report}");
    });
}

#[test]
fn thirty_viewers_share_one_seed_of_four_times_the_bitrate() {
    with_seeds(2, |seed| {
        let film = Film { seconds: 40, bitrate: 200_000, piece_length: 64 * 1024 };
        let mut scenario = Scenario::new(seed, film);
        let link = somewhere(&mut scenario, Link::up(4 * film.bitrate));
        scenario.engine_seed(link);
        for n in 0..30 {
            let link = somewhere(&mut scenario, Link::up(2 * film.bitrate).down(10 * film.bitrate));
            scenario.viewer(link, ViewerPlan { opens: ms(300 * n), ..ViewerPlan::default() });
        }
        let report = scenario.run();
        for row in &report.rows[1..] {
            assert_eq!(row.viewers[0].bytes, film.total(), "{report}");
            assert_eq!(row.viewers[0].underruns, 0, "{report}");
        }
    });
}

#[test]
fn seeds_that_leave_take_no_block_with_them() {
    with_seeds(10, |seed| {
        let mut scenario = Scenario::new(seed, film(seed));
        for n in 0..4 {
            let link = somewhere(&mut scenario, Link::up(FILM.bitrate));
            let seed = scenario.seed(link);
            if n > 0 {
                scenario.change(s(5 * n), seed, Change::Leave);
            }
        }
        let viewer = scenario.viewer(Link::unlimited().down(FILM.bitrate * 5), ViewerPlan::default());
        scenario.change(s(12), viewer, Change::Down(FILM.bitrate * 11 / 10));
        let report = scenario.run();
        let notes = report.viewer();
        assert_eq!((notes.stalls, notes.underruns, notes.bytes), (0, 0, FILM.total()), "{report}");
        assert!(report.row(viewer).waste() < 300, "{report}");
    });
}

#[test]
fn without_a_bitrate_it_plays_as_well() {
    with_seeds(10, |seed| {
        for reports in [true, false] {
            let mut scenario = Scenario::new(seed, film(seed));
            let link = somewhere(&mut scenario, Link::up(FILM.bitrate * 13 / 10));
            scenario.seed(link);
            let viewer = ViewerPlan { told: false, reports, ..ViewerPlan::default() };
            scenario.viewer(Link::unlimited(), viewer);
            let report = scenario.run();
            let notes = report.viewer();
            assert_eq!((notes.stalls, notes.underruns, notes.bytes), (0, 0, FILM.total()), "{report}");
            assert!(notes.start_up.expect("it starts") <= s(4), "{report}");
        }
    });
}

#[test]
fn two_viewers_of_one_engine_do_not_starve_each_other() {
    with_seeds(10, |seed| {
        let mut scenario = Scenario::new(seed, FILM);
        let link = somewhere(&mut scenario, Link::up(FILM.bitrate * 3));
        scenario.seed(link);
        let half = ViewerPlan { file: Some(FILM.total() / 2..FILM.total()), ..ViewerPlan::default() };
        let viewers = vec![ViewerPlan::default(), half];
        scenario.engine("viewers", Link::unlimited(), s(0), HostPlan { viewers, ..plan(config()) });
        let report = scenario.run();
        for notes in &report.rows[1].viewers {
            assert_eq!((notes.stalls, notes.underruns), (0, 0), "{report}");
            assert!(notes.start_up.expect("it starts") <= s(5), "{report}");
        }
        assert_eq!(report.rows[1].viewers[1].bytes, FILM.total() / 2);
    });
}

#[test]
fn one_file_of_many_is_fetched_and_nothing_else() {
    let (from, to) = (7_000_001, 19_000_003);
    with_seeds(5, |seed| {
        let mut scenario = Scenario::new(seed, FILM);
        scenario.seed(Link::up(MIB).latency(ms(5)));
        scenario.viewer(Link::unlimited(), ViewerPlan { file: Some(from..to), ..ViewerPlan::default() });
        let geometry = *scenario.geometry();
        let report = scenario.run();
        let pieces = geometry.pieces_in(&(from..to)).count();
        assert_eq!(report.rows[1].stats.pieces as usize, pieces, "{report}");
        assert_eq!(report.viewer().bytes, to - from, "{report}");
    });
}

#[test]
fn a_greedy_reader_and_a_film_without_readers_take_all_the_rate() {
    with_seeds(5, |seed| {
        for whole in [false, true] {
            let mut scenario = Scenario::new(seed, Film { seconds: 100, bitrate: MIB, ..FILM });
            scenario.seed(Link::up(10 * MIB).latency(ms(10)));
            if whole {
                scenario.leecher(Link::unlimited(), s(0));
            } else {
                let greedy = ViewerPlan { pace: Pace::Greedy, told: false, ..ViewerPlan::default() };
                scenario.viewer(Link::unlimited(), greedy);
            }
            let report = scenario.run();
            assert!(report.rows[1].mean_rate(s(0)).get() * 100 >= payload(10 * MIB) * 95, "{report}");
            assert_eq!(report.rows[1].stats.wasted, 0, "{report}");
        }
    });
}

#[test]
fn forty_seeks_land_and_leave_nothing_behind() {
    for piece_length in [64 * 1024, 4 * 1024 * 1024] {
        with_seeds(4, |seed| {
            let film = Film { seconds: 600, bitrate: 500_000, piece_length };
            let mut scenario = Scenario::new(seed, film);
            let link = somewhere(&mut scenario, Link::up(4 * MIB));
            scenario.seed(link);
            let seeks: Vec<_> = (1..=40)
                .map(|n| (ms(2_500 * n), scenario.rng().random_range(0..film.total() - 3 * MIB)))
                .collect();
            scenario.viewer(Link::unlimited(), ViewerPlan { seeks, ..ViewerPlan::default() });
            scenario.limit(s(110));
            let report = scenario.run();
            let notes = report.viewer();
            assert_eq!(notes.seeks.len(), 40, "{report}");
            let worst = notes.seeks.iter().max().expect("forty");
            assert!(*worst <= ms(2_400), "{report}");
        });
    }
}

#[test]
fn a_full_disk_ends_the_download_and_keeps_what_is_there() {
    with_seeds(5, |seed| {
        let mut scenario = Scenario::new(seed, FILM);
        scenario.seed(Link::up(2 * MIB));
        let disk = DiskPlan { capacity: Some(10 * MIB), ..DiskPlan::default() };
        let viewers = vec![ViewerPlan::default()];
        let plan = HostPlan { disk, viewers, ..plan(config()) };
        scenario.engine("viewer", Link::unlimited(), s(0), plan);
        scenario.limit(s(60));
        let report = scenario.run();
        let row = &report.rows[1];
        assert_eq!((row.stats.state, row.stats.have), (State::Failed, 10 * MIB), "{report}");
        assert!(row.stats.downloaded < 20 * MIB, "it stops fetching: {report}");
    });
}

#[test]
fn a_limit_is_kept_and_used() {
    with_seeds(3, |seed| {
        let mut scenario = Scenario::new(seed, FILM);
        scenario.seed(Link::up(20 * MIB).latency(ms(5)));
        let limited = Config { whole: true, download_limit: ByteRate(MIB), ..config() };
        scenario.engine("leecher", Link::unlimited(), s(0), plan(limited));
        let report = scenario.run();
        let rate = report.rows[1].mean_rate(s(0)).get();
        assert!((MIB * 95 / 100..=MIB * 102 / 100).contains(&rate), "{rate}: {report}");
    });
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let run = |seed| {
        let mut scenario = Scenario::new(seed, Film { seconds: 20, ..FILM });
        for _ in 0..3 {
            let link = somewhere(&mut scenario, Link::up(400 * KIB));
            scenario.engine_seed(link);
        }
        scenario.scripted(Link::up(MIB), Box::new(Spoiler));
        scenario.scripted(Link::up(MIB), Box::new(Moody { fast: true }));
        scenario.viewer(Link::up(MIB), ViewerPlan::default());
        scenario.leecher(Link::up(MIB), s(1));
        scenario.run()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).events, run(6).events);
}

#[test]
fn an_engine_is_called_a_few_times_for_each_block() {
    with_seeds(2, |seed| {
        let mut scenario = Scenario::new(seed, Film { seconds: 60, bitrate: MIB, piece_length: 256 * 1024 });
        for _ in 0..10 {
            scenario.seed(Link::up(2 * MIB).latency(ms(10)));
        }
        scenario.leecher(Link::unlimited(), s(0));
        let report = scenario.run();
        let (row, blocks) = (&report.rows[10], 60 * MIB / 16_384);
        // Each block: one message in, one request out, a wait; some more for pieces and ticks.
        assert!(row.calls.inputs < blocks * 13 / 10, "{:?} for {blocks} blocks", row.calls);
        assert!(row.calls.outputs < blocks * 27 / 10, "{:?} for {blocks} blocks", row.calls);
    });
}

/// A viewer whose torrent may take less space than the film.
fn budgeted(scenario: &mut Scenario, budget: u64, viewers: Vec<ViewerPlan>) {
    let small = Config { budget: Some(budget), ..config() };
    scenario.engine("viewer", Link::up(MIB), s(0), HostPlan { viewers, ..plan(small) });
}

#[test]
fn a_film_larger_than_its_space_is_played_through_it() {
    with_seeds(5, |seed| {
        let mut scenario = Scenario::new(seed, FILM);
        let link = somewhere(&mut scenario, Link::up(FILM.bitrate * 2));
        scenario.seed(link);
        budgeted(&mut scenario, 8 * MIB, vec![ViewerPlan::default()]);
        let report = scenario.run();
        let (row, notes) = (&report.rows[1], report.viewer());
        assert_eq!((notes.stalls, notes.underruns, notes.bytes), (0, 0, FILM.total()), "{report}");
        assert!(notes.start_up.expect("it starts") <= ms(2_500), "{report}");
        assert_eq!((row.completed, row.stats.wasted), (None, 0), "never all of it at once: {report}");
        assert!(row.kept <= 8 * MIB && row.kept > 6 * MIB, "{report}");
        assert_eq!(row.stats.downloaded, FILM.total(), "nothing comes twice: {report}");
    });
}

#[test]
fn what_was_discarded_is_fetched_again_after_a_seek_back() {
    with_seeds(5, |seed| {
        let mut scenario = Scenario::new(seed, FILM);
        let link = somewhere(&mut scenario, Link::up(FILM.bitrate * 4));
        scenario.seed(link);
        let seeks = vec![(s(10), FILM.total() / 2), (s(20), 0), (s(30), FILM.total() / 4)];
        budgeted(&mut scenario, 8 * MIB, vec![ViewerPlan { seeks, ..ViewerPlan::default() }]);
        let report = scenario.run();
        let notes = report.viewer();
        assert_eq!((notes.stalls, notes.underruns), (0, 0), "{report}");
        assert!(notes.seeks.iter().all(|latency| *latency < ms(700)), "{report}");
        assert!(notes.ended.is_some(), "{report}");
    });
}

#[test]
fn a_slow_seed_and_little_space_do_not_wait_for_each_other() {
    with_seeds(5, |seed| {
        let mut scenario = Scenario::new(seed, FILM);
        let link = somewhere(&mut scenario, Link::up(FILM.bitrate * 8 / 10));
        scenario.seed(link);
        // The start rule asks for more than the window holds.
        budgeted(&mut scenario, 4 * MIB, vec![ViewerPlan::default()]);
        let report = scenario.run();
        let notes = report.viewer();
        assert_eq!((notes.bytes, notes.underruns), (FILM.total(), 0), "{report}");
        assert!((1..=4).contains(&notes.stalls), "{report}");
    });
}

#[test]
fn two_viewers_share_little_space_and_others_are_refused_what_is_gone() {
    with_seeds(5, |seed| {
        let mut scenario = Scenario::new(seed, FILM);
        let link = somewhere(&mut scenario, Link::up(FILM.bitrate * 4));
        scenario.engine_seed(link);
        let later = ViewerPlan { opens: s(20), ..ViewerPlan::default() };
        budgeted(&mut scenario, 12 * MIB, vec![ViewerPlan::default(), later]);
        scenario.leecher(Link::up(MIB), s(15));
        let report = scenario.run();
        for notes in &report.rows[1].viewers {
            assert_eq!((notes.stalls, notes.underruns, notes.bytes), (0, 0, FILM.total()), "{report}");
        }
        assert_eq!(report.rows[2].stats.have, FILM.total(), "{report}");
        assert!(report.rows[1].stats.uploaded > 0, "{report}");
    });
}

#[test]
fn a_greedy_reader_is_not_slowed_down_by_little_space() {
    with_seeds(3, |seed| {
        let mut scenario = Scenario::new(seed, Film { seconds: 100, bitrate: MIB, ..FILM });
        scenario.seed(Link::up(10 * MIB).latency(ms(10)));
        budgeted(&mut scenario, 8 * MIB, vec![ViewerPlan { pace: Pace::Greedy, ..ViewerPlan::default() }]);
        let report = scenario.run();
        let took = report.viewer().ended.expect("it ends").micros();
        assert!(took <= 100 * 1_000_000 * MIB / payload(10 * MIB) + 700_000, "{report}");
    });
}

#[test]
fn the_table_of_swarms_stays_as_it_is() {
    let mut table = String::new();
    let mut note = |what: &str, report: &Report| table.push_str(&format!("## {what}\n{report}\n"));
    for percent in [80, 120, 400] {
        let mut scenario = Scenario::new(1, FILM);
        scenario.seed(Link::up(FILM.bitrate * percent / 100).latency(ms(10)).jitter(ms(5)));
        scenario.viewer(Link::unlimited(), ViewerPlan::default());
        note(&format!("one seed at {percent} % of the bitrate"), &scenario.run());
    }
    let mut scenario = Scenario::new(1, FILM);
    let slow = scenario.seed(Link::up(525_000).latency(ms(10)));
    scenario.change(s(25), slow, Change::Up(262_500));
    scenario.change(s(35), slow, Change::Up(525_000));
    scenario.viewer(Link::unlimited(), ViewerPlan::default());
    note("one seed at 105 %, half of that for ten seconds", &scenario.run());
    for delay in [0, 50] {
        note(&format!("a seek, 4 MiB/s, {delay} ms"), &seek_latency(1, ms(delay), 256 * 1024).1);
    }
    note("spoilers", &among(1, vec![Box::new(Spoiler), Box::new(Spoiler)]).0);
    let lazy: Vec<Box<dyn Behaviour>> = vec![Box::new(Silent), Box::new(Refuser), Box::new(Liar)];
    note("peers that give nothing", &among(1, lazy).0);
    let mut scenario = Scenario::new(1, Film { seconds: 20, ..FILM });
    scenario.engine_seed(Link::up(MIB).latency(ms(20)));
    for n in 0..5 {
        scenario.leecher(Link::up(512 * KIB).down(4 * MIB).latency(ms(10)), ms(500 * n));
    }
    note("five leechers", &scenario.run());
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("swarms", table);
    });
}

#[test]
fn every_policy_brings_a_film_to_the_end() {
    with_seeds(2, |seed| {
        for policy in Policy::ALL {
            let mut scenario = Scenario::new(seed, Film { seconds: 20, ..film(seed) });
            scenario.seed(Link::up(4 * FILM.bitrate).latency(ms(20)));
            for n in 0..6 {
                let link = Link::up(2 * FILM.bitrate).latency(ms(5 * n + 1));
                let config = Config { policy, ..config() };
                scenario.engine(
                    "viewer",
                    link,
                    s(n),
                    HostPlan { viewers: vec![ViewerPlan::default()], ..plan(config) },
                );
            }
            let report = scenario.run();
            let ended = report.rows.iter().flat_map(|row| &row.viewers).filter(|notes| notes.ended.is_some());
            assert_eq!(ended.count(), 6, "{policy}\n{report}");
        }
    });
}

/// A minute of 5 Mbit/s, which many begin to watch at once: a seed sends twice the bitrate and each viewer once. What
/// they read is what a player with an endless buffer would; gives the start-up that each of them would have needed.
fn flash_crowd(seed: u64, viewers: u64, stock_seed: bool, limited: bool) -> (Vec<Duration>, Report) {
    let film = Film { seconds: 60, bitrate: 625_000, piece_length: 256 * 1024 };
    let mut scenario = Scenario::new(seed, film);
    let link = |rate: u64| if limited { Link::unlimited() } else { Link::up(rate) };
    let link = |rate: u64| link(rate).down(10 * film.bitrate).latency(ms(15));
    let limit = |rate: u64| ByteRate(if limited { rate } else { 0 });
    let rate = 2 * film.bitrate;
    let stock = Config {
        policy: Policy::RarestFirst,
        serving: Serving { most: Some(8), ..Serving::default() },
        ..config()
    };
    let config_of_seed = Config { upload_limit: limit(rate), ..if stock_seed { stock } else { config() } };
    scenario.engine("seed", link(rate), s(0), HostPlan { complete: true, ..plan(config_of_seed) });
    for n in 0..viewers {
        let viewer =
            ViewerPlan { opens: ms(20 * n), told: false, pace: Pace::Greedy, ..ViewerPlan::default() };
        let config = Config { upload_limit: limit(film.bitrate), ..config() };
        let plan = HostPlan { viewers: vec![viewer], ..plan(config) };
        scenario.engine("viewer", link(film.bitrate), ms(20 * n), plan);
    }
    let report = scenario.run();
    let notes = report.rows.iter().flat_map(|row| &row.viewers);
    let mut needed: Vec<_> = notes.map(|n| n.ended.map_or(Duration::MAX, |_| n.needed)).collect();
    needed.sort_unstable();
    (needed, report)
}

/// What no client could do that was measured: they ask the seed for the same next piece, and have nothing for each other.
#[test]
fn a_flash_crowd_plays_through_from_a_start_up_of_ten_seconds() {
    for (viewers, stock_seed, limited) in
        [(10, true, true), (10, false, false), (20, true, true), (20, false, false)]
    {
        with_seeds(3, |seed| {
            let (needed, report) = flash_crowd(seed, viewers, stock_seed, limited);
            let in_time = needed.iter().filter(|start_up| **start_up <= s(10)).count();
            assert!(
                in_time * 100 >= 95 * needed.len(),
                "{viewers} {stock_seed} {limited}: {needed:?}\n{report}"
            );
        });
    }
}

/// With a seed alone there is nobody to trade with, and nothing to wait for.
#[test]
fn an_invited_viewer_is_served_as_fast_as_the_link_allows() {
    with_seeds(5, |seed| {
        let mut scenario = Scenario::new(seed, film(seed));
        scenario.engine_seed(Link::up(8 * MIB).latency(ms(40)));
        let greedy = ViewerPlan { pace: Pace::Greedy, ..ViewerPlan::default() };
        let viewer = scenario.viewer(Link::up(MIB).latency(ms(10)), greedy);
        let report = scenario.run();
        let rate = report.row(viewer).mean_rate(s(0));
        assert!(rate.get() > payload(8 * MIB) * 85 / 100, "{rate}\n{report}");
    });
}

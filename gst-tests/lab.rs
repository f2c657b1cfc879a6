//! The swarm laboratory: scenarios from files, their tables, what is said of files that are none, and small swarms drawn
//! by lot: `SWARM_TEST_SWARMS=1000` draws so many (50), `SWARM_TEST_SEED=17` begins with that one (0).

#[path = "support/drawn.rs"]
mod drawn;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use drawn::{Drawn, draw};
use gstswarm::sim::lab::batch::Batch;
use gstswarm::sim::lab::class::Role;
use gstswarm::sim::lab::matrix::Matrix;
use gstswarm::sim::lab::outcome::Outcome;
use gstswarm::sim::lab::plan::Plan;
use gstswarm::sim::lab::plot::plot;
use gstswarm::sim::lab::reference::{REFERENCES, Reference};
use gstswarm::sim::lab::results::Results;
use gstswarm::sim::lab::setting::Setting;
use gstswarm::sim::lab::summary::{Summaries, Summary};
use gstswarm::sim::lab::vary::{Case, Vary, cases};
use gstswarm::swarm::policy::Policy;

fn settings(set: &[&str]) -> Vec<Setting> {
    set.iter().map(|text| text.parse().expect("a setting")).collect()
}

/// A scenario that comes with the program, with these values set.
fn reference(name: &str, set: &[&str]) -> Plan {
    let reference = Reference::named(name).expect("a reference scenario");
    Plan::read(name, reference.text, &settings(set)).expect("a scenario")
}

/// Runs a plan on so many threads.
fn results<'a>(plan: &'a Plan, seeds: usize, policies: &[Policy], threads: usize) -> Results<'a> {
    let batch = Batch::new(plan, seeds, policies);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| batch.work());
        }
    });
    Results::new(plan, batch.outcomes().expect("no rule is broken").expect("nobody stopped it"))
}

#[test]
fn the_tables_of_the_reference_scenarios_stay_as_they_are() {
    let short = ["film.length=60s", "hosts.viewers.count=8", "limit=4min"];
    let [length, few, limit] = short;
    let small: [(&str, &[&str]); 10] = [
        ("flash-crowd", &["film.length=20s", few, limit]),
        ("poisson", &short),
        ("churn", &[length, few, limit, "hosts.viewers.departure.mean-stay=30s"]),
        ("seed-leaves", &[length, few, limit, "hosts.seed.leave=40s", "hosts.viewers.arrival.duration=20s"]),
        ("mixed", &[length, limit, "hosts.viewers.count=4", "hosts.stock.count=4"]),
        ("free-riders", &[length, limit, "hosts.viewers.count=6", "hosts.free-riders.count=2"]),
        ("stock-clients", &[length, limit, "hosts.viewers.count=4", "hosts.stock.count=4"]),
        ("uneven", &[length, limit, "hosts.slow.count=4", "hosts.fast.count=4"]),
        ("live", &[few, "limit=90s"]),
        ("live-free-riders", &["hosts.viewers.count=6", "hosts.free-riders.count=2", "limit=90s"]),
    ];
    assert_eq!(small.map(|(name, _)| name), REFERENCES.map(|reference| reference.name));
    let tables =
        small.map(|(name, set)| results(&reference(name, set), 2, &[Policy::default()], 2).to_string());
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("lab", tables.join("\n"));
    });
}

#[test]
fn threads_make_no_difference_and_policies_do() {
    let plan = reference("flash-crowd", &["hosts.viewers.count=4", "film.length=20s"]);
    let all = |threads| {
        let results = results(&plan, 2, &[Policy::GiveToGet, Policy::RarestFirst], threads);
        (results.to_string(), serde_json::to_string(&Summary::new(&results)).expect("JSON"))
    };
    let (table, json) = all(1);
    assert_eq!((table.as_str(), json.as_str()), (all(2).0.as_str(), all(2).1.as_str()));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let start_ups = [0, 1].map(|n| json["results"][n]["classes"]["viewers"]["start_up_p50"]["mean"].as_f64());
    assert!(start_ups[0].is_some() && start_ups[0] != start_ups[1], "{table}");
}

/// What is said of a scenario in which `old` is replaced.
fn refused(old: &str, new: &str) -> String {
    let text = Reference::named("flash-crowd").expect("a reference scenario").text;
    assert!(text.contains(old), "{old}");
    let plan = Plan::read("x.toml", &text.replacen(old, new, 1), &[]);
    plan.map_or_else(|error| error.to_string(), |plan| panic!("{new} is read as {plan:?}"))
}

#[test]
fn errors_name_the_file_the_key_the_value_and_what_is_allowed() {
    let cases = [
        (
            "limit",
            "limits",
            "x.toml: there is no key limits; allowed are title, seed, limit, film, broadcast, tracker, max-peers, supply, hosts",
        ),
        (
            "latency = \"20ms\"",
            "latencies = 1",
            "x.toml: there is no key hosts.seed.link.latencies; allowed are up, down, latency, jitter, loss",
        ),
        (
            "\"2x\"",
            "\"5 Mbit\"",
            "x.toml: hosts.seed.link.up = \"5 Mbit\": write a rate: \"2x\" (times the film's bitrate), \"5 Mbit/s\", \"640 kB/s\", or \"none\" for no limit",
        ),
        (
            "role = \"seed\"",
            "role = \"sead\"",
            "x.toml: hosts.seed.role = \"sead\": write one of \"viewer\", \"seed\", \"leecher\", \"broadcaster\"",
        ),
        (
            "role = \"seed\"",
            "",
            "x.toml: hosts.seed.role is missing; write one of \"viewer\", \"seed\", \"leecher\", \"broadcaster\"",
        ),
        (
            "count = 20",
            "count = 10001",
            "x.toml: hosts.viewers.count = 10001: write a whole number from 0 to 10000",
        ),
        ("count = 20", "count = 10000", "x.toml: 10001 hosts in all: allowed are 1 to 10000"),
        (
            "max-peers = 80",
            "max-peers = 1000\n[[hosts]]\nname = \"more\"\ncount = 9000\nrole = \"viewer\"",
            "x.toml: 9021 hosts of at most 1000 peers and 144 pieces take about 35 GiB, at most 4 are taken: write fewer hosts, a smaller max-peers, a larger piece-length or, for a broadcast, a shorter limit",
        ),
        ("count = 20", "nat = 1.5", "x.toml: hosts.viewers.nat = 1.5: write a share from 0.0 to 1.0"),
        (
            "count = 20",
            "policy = \"tit-for-tat\"",
            "x.toml: hosts.viewers.policy = \"tit-for-tat\": write one of \"give-to-get\", \"rarest-first\", \"sequential\", \"sequential-to-all\"",
        ),
        (
            "count = 20",
            "behaviour = \"odd\"",
            "x.toml: hosts.viewers.behaviour = \"odd\": write one of \"honest\", \"free-rider\", \"liar\", \"colluder\"",
        ),
        (
            "count = 20",
            "departure = \"early\"",
            "x.toml: hosts.viewers.departure.mean-stay is missing; write a time: \"500ms\", \"30s\", \"5min\" or \"1:30:00\", at most 24 hours, and more than 0",
        ),
        (
            "kind = \"at once\"",
            "kind = \"noon\"",
            "x.toml: hosts.viewers.arrival.kind = \"noon\": write one of \"at once\", \"regular\", \"poisson\", \"evening\"",
        ),
        (
            "tracker = 50",
            "tracker = \"50..30\"",
            "x.toml: tracker = \"50..30\": write a number of addresses from 1 to 1000, a range of them, \"30..50\", or \"all\"",
        ),
        (
            "length = \"60s\"",
            "length = \"24h\"",
            "x.toml: a film of 54000000000 bytes in 205994 pieces: allowed are at most 8589934592 bytes and 65536 pieces, and at least one second",
        ),
        (
            "role = \"seed\"",
            "role = \"broadcaster\"",
            "x.toml: hosts.seed.role = \"broadcaster\": a film has none; write \"seed\", or a broadcast in place of the film",
        ),
        (
            "film = ",
            "broadcast = { bitrate = \"1 Mbit/s\" }\nfilm = ",
            "x.toml: film or broadcast: write one of them",
        ),
        (
            "name = \"viewers\"",
            "name = \"seed\"",
            "x.toml: two classes of hosts are called 'seed': each needs a name of its own",
        ),
        (
            "seed = 1",
            "seed = 1\nsupply = 0.05",
            "x.toml: supply = 0.05: the seeds alone send more than that, or nobody else gives anything; write a larger supply, or 'link.up' of the seeds smaller",
        ),
    ];
    for (old, new, said) in cases {
        assert_eq!(refused(old, new), said);
    }
    let broken = refused("seed = 1", "seed = = 1");
    assert!(broken.starts_with("x.toml: line 3 is no TOML: "), "{broken}");
    let long = Plan::read("x.toml", &"#".repeat(100_000), &[]).expect_err("too long").to_string();
    assert_eq!(long, "x.toml: 100000 bytes are too many for a scenario; at most 65536 are read");
}

#[test]
fn supply_scales_the_uplinks_of_those_who_want_the_film() {
    let plan = reference("flash-crowd", &["supply=1.5", "hosts.viewers.count=10"]);
    let ups = plan.classes.iter().map(|class| class.count as u64 * plan.up(class));
    assert_eq!(ups.collect::<Vec<_>>(), [2 * 625_000, 13 * 625_000]);
}

#[test]
fn what_a_broadcast_cannot_have_is_refused() {
    let text = Reference::named("live").expect("a reference scenario").text;
    let cases = [
        (
            "role = \"broadcaster\"",
            "role = \"seed\"",
            "a broadcast needs one host with the role \"broadcaster\": here are 0",
        ),
        (
            "role = \"viewer\"",
            "role = \"leecher\"",
            "in a broadcast, hosts.viewers.role: write \"viewer\" or \"broadcaster\"",
        ),
        (
            "count = 60",
            "seeks = \"9s\"",
            "in a broadcast, hosts.viewers.seeks: leave it out, all watch what is made just now",
        ),
        (
            "{ kind = \"early\", mean-stay = \"4min\" }",
            "\"at the end\"",
            "in a broadcast, hosts.viewers.departure: write \"early\" or \"never\", a broadcast has no end",
        ),
        (
            "ring = \"10min\"",
            "ring = \"10s\"",
            "a ring of 640000 bytes in 19 pieces: allowed are at most 8589934592 bytes, and 64 to 65536 pieces",
        ),
    ];
    for (old, new, said) in cases {
        assert!(text.contains(old), "{old}");
        let error = Plan::read("x.toml", &text.replacen(old, new, 1), &[]).expect_err(new).to_string();
        assert_eq!(error, format!("x.toml: {said}"));
    }
}

#[test]
fn a_broadcast_is_watched_behind_its_capture() {
    let plan = reference("live", &["hosts.viewers.count=6", "limit=1min"]);
    let results = results(&plan, 1, &[Policy::default()], 1);
    let [source, viewers] = [0, 1].map(|class| results.series[0].figures(Some(class)));
    assert!((0.01..1.0).contains(&source["given_share"].mean), "{results}");
    assert!(viewers["start_up_p95"].mean < 10.0 && viewers["dropped_share"].mean < 0.01, "{results}");
    assert!((1.0..30.0).contains(&viewers["delay_p95"].mean), "{results}");
    for film in ["ended_share", "completed_share", "needed_max"] {
        assert!(!viewers.contains_key(film), "{film}\n{results}");
    }
    let picture = plot(&results).expect("a picture");
    assert!(picture.contains("broadcast of 512 kbit/s"), "{results}");
}

#[test]
fn policies_differ_in_broadcasts_too_and_break_no_rule() {
    let plan = reference("live", &["hosts.viewers.count=8", "limit=1min"]);
    let results = results(&plan, 1, &Policy::ALL, 2);
    let figures = [0, 1, 2, 3].map(|series| results.series[series].figures(Some(1)));
    let [ours, others @ ..] = figures.each_ref();
    for others in others {
        assert!(ours != others && ours["start_up_p50"].mean <= others["start_up_p50"].mean, "{results}");
    }
}

#[test]
fn several_cases_are_one_table_and_one_object() {
    let varied = ["supply=1.5,2".parse::<Vary>().expect("values")];
    let cases = cases(&varied);
    let few = ["hosts.viewers.count=3", "film.length=10s"];
    let plan = |case: &Case| {
        let set: Vec<_> = settings(&few).into_iter().chain(case.settings.clone()).collect();
        Plan::read("x", Reference::named("flash-crowd").expect("a scenario").text, &set).expect("a scenario")
    };
    let plans: Vec<_> = cases.iter().map(plan).collect();
    assert_eq!([plans[0].supply, plans[1].supply], [Some(1.5), Some(2.0)]);
    let all = || {
        let results = |plan| results(plan, 1, &[Policy::GiveToGet, Policy::RarestFirst], 2);
        cases.iter().zip(plans.iter().map(results)).collect::<Vec<_>>()
    };
    let json = serde_json::to_value(Summaries::new(&all())).expect("JSON");
    assert_eq!(json["cases"][1]["set"], serde_json::json!({ "supply": "2" }));
    assert_eq!(json["cases"][1]["results"][0]["policy"], "give-to-get");
    let table = Matrix::new(all(), &["start_up_p50", "given_share"]).to_string();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = table.lines().map(words).collect();
    assert!(table.contains("supply=1.5: film 0:10") && table.contains("supply=2: film 0:10"), "{table}");
    let heads = lines.iter().filter(|line| line.get(1).is_some_and(|word| word == "supply"));
    // A seed watches nothing.
    assert_eq!(heads.map(Vec::len).collect::<Vec<_>>(), [5, 8], "{table}");
    let rows = lines.iter().filter(|line| line.len() > 2 && ["1.5", "2"].contains(&line[1].as_str()));
    let rows: Vec<_> = rows.map(|line| line[0].as_str()).collect();
    assert_eq!(rows, ["give-to-get", "rarest-first"].repeat(4), "{table}");
}

#[test]
fn all_who_need_the_film_tell_when_they_had_it() {
    let plan = reference(
        "stock-clients",
        &["film.length=30s", "hosts.viewers.count=3", "hosts.stock.count=3", "hosts.viewers.leave=20s"],
    );
    let results = results(&plan, 1, &[Policy::GiveToGet, Policy::RarestFirst], 2);
    let [ours, theirs] = [0, 1].map(|series| results.series[series].figures(Some(1))["completion_p95"].mean);
    assert!(ours.is_finite() && theirs.is_finite() && ours != theirs, "{results}");
    let viewers = results.series[0].figures(Some(2));
    // Who left before has no time; it did not get everything all the same.
    assert!(viewers["completed_share"].mean < 1.0, "{results}");
    assert!(viewers.get("completion_p95").is_none_or(|time| time.mean.is_finite()), "{results}");
}

/// They need the film, and others have to bring it up.
#[test]
fn supply_counts_nothing_of_those_who_give_nothing() {
    let set = ["supply=1.5", "hosts.viewers.count=8", "hosts.free-riders.count=2"];
    let plan = reference("free-riders", &set);
    let ups = plan.classes.iter().map(|class| class.count as u64 * plan.up(class));
    assert_eq!(ups.collect::<Vec<_>>(), [4 * 125_000, 11 * 125_000, 2 * 125_000]);
}

#[test]
fn free_riders_take_and_give_nothing() {
    let set = ["hosts.viewers.count=6", "hosts.free-riders.count=2", "film.length=60s"];
    let plan = reference("free-riders", &set);
    let results = results(&plan, 1, &[Policy::default()], 1);
    let [viewers, riders] = [1, 2].map(|class| results.series[0].figures(Some(class)));
    assert!(results.to_string().contains("behaviour"), "{results}");
    assert_eq!((riders["ended_share"].mean, riders["given_share"].mean), (1.0, 0.0), "{results}");
    assert!(viewers["given_share"].mean > 0.3, "{results}");
}

/// Seconds that viewers stall, and those who behave like this.
fn stalled(scenario: &str, seeds: usize, set: &[&str], behaviour: &str) -> [f64; 2] {
    let behaviour = format!("hosts.free-riders.behaviour={behaviour:?}");
    let plan = reference(scenario, &[set, &[&behaviour]].concat());
    let results = results(&plan, seeds, &[Policy::default()], 2);
    println!("{results}");
    [1, 2].map(|class| results.series[0].figures(Some(class))["stall_time_mean"].mean)
}

/// They wait when there is not enough for all, and it is of no use to say that one gave something.
fn lying_is_of_no_use(stalled: impl Fn(&str) -> [f64; 2]) {
    let [viewers, riders] = stalled("free-rider");
    assert!(riders > 2.0 * viewers, "{riders:.1} s and {viewers:.1} s");
    for liar in ["liar", "colluder"] {
        let [viewers, liars] = stalled(liar);
        assert!(
            liars > 2.0 * viewers && liars > 0.7 * riders,
            "{liar}: {liars:.1}, {riders:.1}, {viewers:.1} s"
        );
    }
}

#[test]
fn who_gives_nothing_waits_whatever_it_says() {
    let set = [
        "hosts.viewers.count=18",
        "hosts.viewers.arrival.mean-gap=3s",
        "hosts.free-riders.count=6",
        "hosts.free-riders.arrival.mean-gap=8s",
        "film.length=4min",
    ];
    lying_is_of_no_use(|behaviour| stalled("free-riders", 3, &set, behaviour));
}

#[test]
fn of_a_broadcast_who_gives_nothing_sees_little_whatever_it_says() {
    let set = ["hosts.viewers.count=24", "hosts.free-riders.count=8", "limit=4min"];
    lying_is_of_no_use(|behaviour| stalled("live-free-riders", 1, &set, behaviour));
}

/// A scenario with everything in it.
const ALL: &str = r#"
title = "everything that a scenario may say"
seed = 7
limit = "3min"
film = { length = "40s", bitrate = "800 kbit/s", piece-length = "64 KiB" }
tracker = "all"

[[hosts]]
name = "seed"
role = "seed"
upload-limit = "200 kB/s"

[[hosts]]
name = "restless"
count = 6
role = "viewer"
nat = 0.5
policy = "sequential"
behaviour = "honest"
link = { up = "1.5x", down = "none", latency = "1ms..9ms", jitter = "2ms", loss = 0.01 }
arrival = { kind = "poisson", mean-gap = "2s" }
departure = "at the end"
seeks = "15s"
pauses = { mean-gap = "10s", mean-length = "3s" }

[[hosts]]
name = "archive"
count = 2
role = "leecher"
link = { up = "1x" }
arrival = { kind = "evening", duration = "10s" }
leave = "100s"
"#;

#[test]
fn everything_that_a_scenario_may_say_is_done() {
    let plan = Plan::read("all", ALL, &[]).expect("a scenario");
    let results = results(&plan, 1, &[Policy::default()], 1);
    let [seed, restless, archive] = [0, 1, 2].map(|class| results.series[0].figures(Some(class)));
    assert!(seed["given_share"].mean > 0.1 && !seed.contains_key("viewers"), "{results}");
    assert_eq!(restless["viewers"].mean, 6.0, "{results}");
    assert!(restless["start_up_p95"].mean.is_finite(), "{results}");
    assert!(!restless.contains_key("needed_max"), "all of them sought: {results}");
    assert_eq!(archive["completed_share"].mean, 1.0, "{results}");
    assert!(archive["completion_p95"].mean < 100.0, "{results}");
    let left = results.series[0].runs[0].classes[2].iter().map(|host| host.stay <= 100.0);
    assert!(left.clone().all(|left| left), "{results}");
}

#[test]
fn a_picture_shows_all_classes_and_policies_and_is_the_same_again() {
    let plan = reference(
        "mixed",
        &["hosts.viewers.count=2", "hosts.stock.count=2", "film.length=20s", "limit=1min"],
    );
    let draw = |policies: &[Policy]| plot(&results(&plan, 1, policies, 2)).expect("a picture");
    let (one, two) = (draw(&[Policy::GiveToGet]), draw(&[Policy::GiveToGet, Policy::SequentialToAll]));
    for (picture, words) in [(&one, ["viewers", "stock"]), (&two, ["give-to-get", "sequential-to-all"])] {
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
        words.iter().for_each(|word| assert!(picture.contains(word), "{word}"));
    }
    assert_eq!(one, draw(&[Policy::GiveToGet]));
}

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What went wrong in a swarm that was drawn, if anything did.
fn wrong(drawn: &Drawn) -> Option<String> {
    let run = || {
        let plan = Plan::read("drawn.toml", &drawn.text, &[]).map_err(|error| error.to_string())?;
        let batch = Batch::new(&plan, 1, &[Policy::default()]);
        batch.work();
        let outcomes = batch.outcomes().map_err(|broken| broken.to_string())?;
        outcomes
            .and_then(|mut all| all.pop())
            .map(|(_, run)| run)
            .ok_or_else(|| "nothing came out".to_owned())
    };
    match (run(), run()) {
        (Err(error), _) => Some(error),
        (one, other) if one != other => Some("the same seed is another run".to_owned()),
        (Ok(run), _) => waits_for_ever(&run).filter(|_| drawn.fair),
    }
}

/// Somebody who stayed and did not get what it wanted.
fn waits_for_ever(run: &Outcome) -> Option<String> {
    let waits = run.hosts().find(|host| match host.role {
        Role::Viewer => host.viewing.as_ref().is_some_and(|viewing| !viewing.content),
        Role::Leecher => host.completed.is_none() && !host.left,
        Role::Seed | Role::Broadcaster => false,
    });
    waits.map(|host| format!("at {:?} somebody still waits: {host:?}", run.end))
}

/// The watchers beside all engines see that no rule is broken (`sim::checks`), and nobody waits for ever.
#[test]
fn swarms_drawn_by_lot_break_no_rule_and_leave_nobody_waiting() {
    let first = environment("SWARM_TEST_SEED", 0);
    let seeds = first..first + environment("SWARM_TEST_SWARMS", 50);
    let next = AtomicU64::new(seeds.start);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let all_wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let drawn = draw(seed);
                    if let Some(wrong) = wrong(&drawn) {
                        all_wrong.lock().expect("no thread panics").push((seed, wrong, drawn.text));
                    }
                }
            });
        }
    });
    let mut all_wrong = all_wrong.into_inner().expect("no thread panics");
    all_wrong.sort();
    for (seed, wrong, _) in &all_wrong {
        eprintln!("SWARM_TEST_SEED={seed}: {wrong}");
    }
    if let Some((seed, wrong, text)) = all_wrong.first() {
        panic!(
            "{wrong}\nto see it again: SWARM_TEST_SEED={seed} SWARM_TEST_SWARMS=1 cargo test --test lab drawn, \
             or swarm sim with this file:\n\n{text}"
        );
    }
}

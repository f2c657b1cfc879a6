//! Small swarms drawn by lot, as scenarios of the laboratory.

use std::fmt::Write as _;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

/// Most hosts.
const MOST: u32 = 12;

/// A scenario that was drawn.
pub struct Drawn {
    /// Its file.
    pub text: String,
    /// There is a seed that all can call, that serves everybody, and that stays: nobody has a reason to wait for ever.
    pub fair: bool,
}

/// One of so many is a broadcast.
const BROADCASTS: u64 = 8;

/// The scenario of a seed.
pub fn draw(seed: u64) -> Drawn {
    let rng = &mut Pcg64::seed_from_u64(seed);
    if seed % BROADCASTS == BROADCASTS - 1 {
        return Drawn { text: broadcast(rng, seed), fair: false };
    }
    let fair = rng.random_bool(0.7);
    let (length, bitrate) = (rng.random_range(3..40), one(rng, &["150 kbit/s", "1 Mbit/s", "3 Mbit/s"]));
    let piece = one(rng, &["16 KiB", "32 KiB", "64 KiB", "256 KiB", "1 MiB"]);
    let (tracker, peers) = if fair {
        ("\"all\"", 80)
    } else {
        (one(rng, &["\"all\"", "1", "\"1..3\""]), rng.random_range(1..8))
    };
    let limit = if fair { "20min" } else { "3min" };
    let mut text = format!(
        "title = \"drawn by lot\"\nseed = {seed}\nlimit = \"{limit}\"\n\
         film = {{ length = \"{length}s\", bitrate = \"{bitrate}\", piece-length = \"{piece}\" }}\n\
         tracker = {tracker}\nmax-peers = {peers}\n"
    );
    let mut hosts = rng.random_range(2..=MOST);
    if fair {
        let (up, policy) = (one(rng, &["3x", "10x", "none"]), policy(rng));
        let link = format!("{{ up = \"{up}\", latency = \"{}\" }}", latency(rng));
        let _ = write!(text, "\n[[hosts]]\nname = \"stays\"\nrole = \"seed\"\nlink = {link}\n{policy}");
        hosts -= 1;
    }
    for number in 0.. {
        let count = rng.random_range(1..=hosts.min(4));
        text += &class(rng, number, count);
        hosts -= count;
        if hosts == 0 {
            return Drawn { text, fair };
        }
    }
    unreachable!("each class takes one host at least")
}

/// A broadcast of a minute, in which a ring may go round three times.
fn broadcast(rng: &mut Pcg64, seed: u64) -> String {
    let (piece, ring) = one(rng, &[("32 KiB", "40s"), ("16 KiB", "20s"), ("64 KiB", "10min")]);
    let (source, peers) = (one(rng, &["1x", "3x", "none"]), rng.random_range(1..12));
    let mut text = format!(
        "title = \"drawn by lot\"\nseed = {seed}\nlimit = \"1min\"\nmax-peers = {peers}\n\
         broadcast = {{ bitrate = \"512 kbit/s\", piece-length = \"{piece}\", ring = \"{ring}\" }}\n\n\
         [[hosts]]\nname = \"source\"\nrole = \"broadcaster\"\nlink = {{ up = \"{source}\" }}\n"
    );
    for number in 0..rng.random_range(1..=3) {
        let count = rng.random_range(1..=3);
        // Writing into a string cannot fail, here and below.
        let _ = write!(text, "\n[[hosts]]\nname = \"c{number}\"\ncount = {count}\nrole = \"viewer\"\n");
        text += &link(rng);
        text += &arrival(rng);
        let cheats = cheats(rng);
        text += &some(
            rng,
            &[
                (&cheats, 0.2),
                ("nat = 0.5", 0.3),
                ("leave = \"40s\"", 0.2),
                ("departure = { kind = \"early\", mean-stay = \"20s\" }", 0.3),
            ],
        );
    }
    text
}

/// Those of these lines that chance chooses, each with its own.
fn some(rng: &mut Pcg64, lines: &[(&str, f64)]) -> String {
    let chosen = lines.iter().filter(|(_, chance)| rng.random_bool(*chance));
    chosen.map(|(line, _)| format!("{line}\n")).collect()
}

fn cheats(rng: &mut Pcg64) -> String {
    format!("behaviour = \"{}\"", one(rng, &["free-rider", "liar", "colluder"]))
}

fn class(rng: &mut Pcg64, number: u32, count: u32) -> String {
    let role = one(rng, &["viewer", "viewer", "viewer", "leecher", "seed"]);
    let mut text = format!("\n[[hosts]]\nname = \"c{number}\"\ncount = {count}\nrole = \"{role}\"\n");
    text += &link(rng);
    text += &policy(rng);
    text += &arrival(rng);
    let cheats = cheats(rng);
    text += &some(
        rng,
        &[
            (&cheats, 0.2),
            ("upload-limit = \"0.8x\"", 0.2),
            ("nat = 0.5", 0.3),
            ("departure = { kind = \"at the end\", linger = \"1s\" }", 0.3),
            ("leave = \"25s\"", 0.15),
        ],
    );
    if !text.contains("departure") && rng.random_bool(0.3) {
        text += "departure = { kind = \"early\", mean-stay = \"20s\" }\n";
    }
    if role == "viewer" && rng.random_bool(0.4) {
        let _ = writeln!(text, "seeks = \"{}s\"", rng.random_range(2..20));
    }
    if role == "viewer" && rng.random_bool(0.3) {
        text += "pauses = { mean-gap = \"6s\", mean-length = \"2s\" }\n";
    }
    text
}

fn link(rng: &mut Pcg64) -> String {
    let (up, down) = (one(rng, &["0.2x", "1x", "3x", "none"]), one(rng, &["2x", "8x", "none"]));
    let (jitter, loss) = (one(rng, &["0ms", "20ms"]), one(rng, &["0.0", "0.001", "0.05"]));
    let latency = latency(rng);
    format!(
        "link = {{ up = \"{up}\", down = \"{down}\", latency = \"{latency}\", jitter = \"{jitter}\", loss = {loss} }}\n"
    )
}

fn arrival(rng: &mut Pcg64) -> String {
    let arrivals = [
        "{ kind = \"at once\", spread = \"2s\" }",
        "{ kind = \"poisson\", mean-gap = \"3s\" }",
        "{ kind = \"evening\", duration = \"30s\" }",
    ];
    format!("arrival = {}\n", one(rng, &arrivals))
}

fn policy(rng: &mut Pcg64) -> String {
    let policies = ["give-to-get", "give-to-get", "rarest-first", "sequential", "sequential-to-all"];
    format!("policy = \"{}\"\n", one(rng, &policies))
}

fn latency(rng: &mut Pcg64) -> &'static str {
    one(rng, &["0ms", "1ms..5ms", "5ms..60ms", "150ms"])
}

fn one<T: Copy>(rng: &mut Pcg64, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

//! `swarm sim`: the swarm laboratory.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::exit::{AFTER_HELP, Exit, Usage};
use super::signals::Interrupt;
use super::{output, progress};
use crate::sim::lab::batch::{Batch, MAX_TRIALS};
use crate::sim::lab::figures::FIGURES;
use crate::sim::lab::matrix::Matrix;
use crate::sim::lab::plan::{MAX_FILE, Plan};
use crate::sim::lab::plot::plot;
use crate::sim::lab::reference::{REFERENCES, Reference};
use crate::sim::lab::results::Results;
use crate::sim::lab::setting::Setting;
use crate::sim::lab::summary::{Summaries, Summary};
use crate::sim::lab::vary::{Case, MAX_CASES, Vary, cases};
use crate::swarm::policy::Policy;

/// Pause between two looks at what the threads have done.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Simulate a swarm of viewers
///
/// Runs a scenario in the simulator, with the engine that swarmsrc has, and prints what its viewers felt and who
/// gave how much. Scenarios are small text files; some come with the program. The same scenario and seed give
/// the same output, to the byte, however many cores there are.
///
///   swarm sim --list
///   swarm sim flash-crowd
///   swarm sim flash-crowd --seeds 5 --set hosts.viewers.count=50 --set limit=5min
///   swarm sim flash-crowd --compare give-to-get,rarest-first --json
///   swarm sim poisson --compare give-to-get,rarest-first --set supply=1.2 --plot out.svg
///   swarm sim poisson --compare give-to-get,rarest-first --vary supply=1.1,1.5,2 --seeds 10
///   swarm sim live --compare give-to-get,rarest-first --figures start_up_p50,delay_p50,dropped_share,given_share
///   swarm sim my-own.toml
///
/// `swarm sim flash-crowd --show` prints a scenario to begin your own with; all keys are below.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = after_help())]
pub(super) struct Args {
    /// The name of a scenario that comes with the program, or a file
    #[arg(value_name = "SCENARIO", required_unless_present = "list")]
    scenario: Option<PathBuf>,
    /// Name the scenarios that come with the program
    #[arg(long, conflicts_with = "scenario")]
    list: bool,
    /// Print the scenario's file and run nothing
    #[arg(long)]
    show: bool,
    /// The (first) seed, in place of the scenario's
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// Run with so many seeds, one after the other, and tell means and how far they spread
    #[arg(long, value_name = "N", default_value = "1")]
    seeds: NonZeroUsize,
    /// Run with each of these policies in place of the default one
    ///
    /// They are give-to-get, rarest-first, sequential, sequential-to-all. Hosts for whom the scenario names
    /// another policy than give-to-get keep it.
    #[arg(long, value_name = "POLICY,POLICY", value_delimiter = ',')]
    compare: Vec<Policy>,
    /// Set one value of the scenario, e.g. supply=1.5 or hosts.viewers.link.up="2 Mbit/s"; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Setting>,
    /// Run with each of these values of a key and print one table of all, a line for each value and policy
    ///
    /// With several keys all combinations are run, at most 100. A value has no comma.
    #[arg(long, value_name = "KEY=VALUE,VALUE", conflicts_with = "plot")]
    vary: Vec<Vary>,
    /// Show these figures, by their names below, in a table with a line for each policy
    ///
    /// With --vary the default is those that matter most: start-up, stalls, drops, delay and who gave how much.
    #[arg(long, value_name = "FIGURE,FIGURE", value_delimiter = ',', value_parser = figure, conflicts_with = "json")]
    figures: Vec<&'static str>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Draw a picture, too: start-ups, stalls, who gave, what viewers had ahead
    #[arg(short = 'o', long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Replace the picture if it exists
    #[arg(long, requires = "plot")]
    force: bool,
}

/// What the help says of scenarios.
const SCENARIOS: &str = "\
Scenarios are TOML. A time is \"500ms\", \"30s\", \"5min\" or \"1:30:00\"; a rate is \"2x\" (times the film's bitrate),
\"5 Mbit/s\", \"640 kB/s\" or \"none\" for no limit; a share is 0.0 to 1.0:

  title = \"who does what\"
  seed = 1                            # where all chance comes from
  limit = \"10min\"                     # a run ends then, or when everybody is done
  film = { length = \"60s\", bitrate = \"5 Mbit/s\", piece-length = \"256 KiB\" }
                                      # or, in its place, what is made while it is watched: broadcast =
                                      # { bitrate = \"512 kbit/s\", piece-length = \"32 KiB\", ring = \"10min\" }
  tracker = \"30..50\"                  # how many addresses it tells, at random; or a number, or \"all\"
  max-peers = 80                      # connections of one engine
  supply = 1.5                        # optional: links of viewers and leechers are scaled, so that the uplinks of
                                      # all who give have so many times what viewers and leechers need
  [[hosts]]                           # for each class of hosts:
  name = \"viewers\"
  count = 20                          # at most 10000 in all
  role = \"viewer\"                     # or \"seed\", or \"leecher\": fetches all and watches nothing;
                                      # a broadcast has one \"broadcaster\", and viewers
  link = { up = \"1x\", down = \"8x\", latency = \"5ms..40ms\", jitter = \"5ms\", loss = 0.001 }
  upload-limit = \"0.9x\"               # the engine's own, as max-upload-rate
  nat = 0.3                           # the share of them that nobody can call
  policy = \"give-to-get\"              # or rarest-first, sequential, sequential-to-all
  behaviour = \"honest\"                # or free-rider: takes like anybody and gives nothing; liar: one that
                                      # says it gave; colluder: one of two that say so of each other
  arrival = { kind = \"poisson\", mean-gap = \"3s\" }         # { kind = \"at once\", spread = \"1s\" },
                                                          # { kind = \"regular\", gap = \"3s\" },
                                                          # { kind = \"evening\", duration = \"20min\" }
  departure = { kind = \"at the end\", linger = \"30s\" }     # { kind = \"early\", mean-stay = \"2min\" }, \"never\"
  leave = \"5min\"                      # all of them are gone then
  seeks = \"2min\"                      # mean time between two
  pauses = { mean-gap = \"3min\", mean-length = \"20s\" }

";

/// What the help ends with: scenarios, and the figures from the list that they are made from.
fn after_help() -> String {
    let mut help = SCENARIOS.to_owned();
    help += "\
JSON has scenario, title, seeds, limit (s), film (length in s, bitrate in bytes/s, piece_length) or broadcast
(bitrate in bytes/s, piece_length, ring in s), max_peers, supply, hosts (name, count, role, up, down,
upload_limit in bytes/s, nat, policy, behaviour), and for each policy in results its policy, end (s), all (the
figures over all hosts) and classes (the same by name of the class). A figure has mean, min and max over the
seeds. One that means nothing there is left out; null is what never came. Times are in seconds, shares are
parts of 1. With --vary there is an object for each combination in cases, which has set (keys and values),
too:

";
    for figure in &FIGURES {
        // Writing into a string cannot fail.
        let _ = writeln!(help, "  {:<17}{}", figure.key, figure.what);
    }
    help + "\n" + AFTER_HELP
}

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(scenario) = &args.scenario else { return list() };
    let (name, text) = read(scenario)?;
    if args.show {
        output::write(text.as_bytes())?;
        return Ok(Exit::Done);
    }
    let cases = cases(&args.vary);
    let policies = policies(args)?;
    check_count(args, policies.len(), cases.len())?;
    let plans =
        cases.iter().map(|case| plan(args, &name, &text, case)).collect::<anyhow::Result<Vec<_>>>()?;
    args.plot.iter().try_for_each(|path| output::check_free(path, args.force))?;
    let batches: Vec<_> = plans.iter().map(|plan| Batch::new(plan, args.seeds.get(), &policies)).collect();
    let most = plans.iter().map(Plan::runs_at_a_time).min().unwrap_or(1);
    let interrupt = Interrupt::install_silently()?;
    simulate(&batches, most, &interrupt)?;
    // What went wrong in one of them has stopped the others.
    let outcomes = batches.into_iter().map(Batch::outcomes).collect::<Result<Vec<_>, _>>()?;
    let Some(outcomes) = outcomes.into_iter().collect::<Option<Vec<_>>>() else {
        return Ok(Exit::Interrupted);
    };
    let results = plans.iter().zip(outcomes).map(|(plan, outcomes)| Results::new(plan, outcomes));
    show(args, cases.iter().zip(results).collect())?;
    Ok(Exit::Done)
}

fn plan(args: &Args, name: &str, text: &str, case: &Case) -> anyhow::Result<Plan> {
    let settings: Vec<_> = args.set.iter().chain(&case.settings).cloned().collect();
    let mut plan = Plan::read(name, text, &settings)?;
    plan.name = short(name);
    plan.seed = args.seed.map_or(plan.seed, u64::from);
    Ok(plan)
}

/// Draws and prints what came out.
fn show(args: &Args, all: Vec<(&Case, Results<'_>)>) -> anyhow::Result<()> {
    if let (Some(path), [(_, results)]) = (&args.plot, all.as_slice()) {
        output::new_file(path, plot(results)?.as_bytes(), args.force)?;
        progress::say(&format!("drawn: {}", path.display()));
    }
    match all.as_slice() {
        _ if !args.vary.is_empty() && args.json => output::json(&Summaries::new(&all)),
        [(_, results)] if args.json => output::json(&Summary::new(results)),
        [(_, results)] if args.vary.is_empty() && args.figures.is_empty() => {
            output::write(results.to_string().as_bytes())
        }
        _ => output::write(Matrix::new(all, &args.figures).to_string().as_bytes()),
    }
}

/// A figure's key.
fn figure(name: &str) -> Result<&'static str, String> {
    let found = FIGURES.iter().map(|figure| figure.key).find(|key| *key == name);
    found.ok_or_else(|| format!("'{name}' is no figure; there are {}", FIGURES.map(|f| f.key).join(", ")))
}

fn list() -> anyhow::Result<Exit> {
    let width = REFERENCES.iter().map(|reference| reference.name.len()).max().unwrap_or_default();
    let lines = REFERENCES.iter().map(|r| format!("{:<width$}  {}\n", r.name, r.about()));
    output::write(lines.collect::<String>().as_bytes())?;
    Ok(Exit::Done)
}

/// The name and the text of a scenario.
fn read(scenario: &Path) -> anyhow::Result<(String, String)> {
    let name = scenario.display().to_string();
    if let Some(reference) = Reference::named(&name) {
        return Ok((name, reference.text.to_owned()));
    }
    let names: Vec<_> = REFERENCES.iter().map(|reference| reference.name).collect();
    let file = File::open(scenario).with_context(|| {
        format!("cannot read {name}: name a file, or one of the scenarios {}", names.join(", "))
    })?;
    let mut bytes = Vec::new();
    // One byte more, so that what is too long is seen to be.
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    let text = String::from_utf8(bytes).with_context(|| format!("{name} is no text: scenarios are UTF-8"))?;
    Ok((name, text))
}

/// A scenario's name without folders and ending.
fn short(name: &str) -> String {
    let stem = Path::new(name).file_stem().map(|stem| stem.display().to_string());
    progress::harmless(&stem.unwrap_or_default())
}

fn policies(args: &Args) -> anyhow::Result<Vec<Policy>> {
    let mut policies = args.compare.clone();
    if policies.is_empty() {
        policies.push(Policy::default());
    }
    for (n, policy) in policies.iter().enumerate() {
        if policies[..n].contains(policy) {
            return Err(Usage::new(format!("--compare names {policy} twice: name each policy once")).into());
        }
    }
    Ok(policies)
}

fn check_count(args: &Args, policies: usize, cases: usize) -> anyhow::Result<()> {
    if cases > MAX_CASES {
        return Err(Usage::new(format!("--vary: at most {MAX_CASES} combinations are run at once")).into());
    }
    let trials = args.seeds.get().saturating_mul(policies).saturating_mul(cases);
    if trials > MAX_TRIALS {
        let text =
            format!("--seeds {} makes {trials} runs: at most {MAX_TRIALS} are made at once", args.seeds);
        return Err(Usage::new(text).into());
    }
    Ok(())
}

/// Runs all of it on all cores, `most` runs at a time, and tells how far it is.
fn simulate(batches: &[Batch<'_>], most: usize, interrupt: &Interrupt) -> anyhow::Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let trials = batches.iter().map(Batch::trials).sum::<usize>();
    let threads = cores.min(trials).min(most);
    let (mut status, begun) = (progress::Status::new(), Instant::now());
    let stop = || batches.iter().for_each(Batch::stop);
    let work = || batches.iter().for_each(Batch::work);
    thread::scope(|scope| {
        let spawn = |_| thread::Builder::new().name("swarm-sim".to_owned()).spawn_scoped(scope, work);
        let workers: Vec<_> = (0..threads).map(spawn).collect::<Result<_, _>>().inspect_err(|_| stop())?;
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            if interrupt.is_set() || batches.iter().any(Batch::is_stopped) {
                stop();
            }
            let done = batches.iter().map(Batch::done).sum::<usize>();
            let simulated = batches.iter().map(Batch::simulated).sum();
            let mut line = format!(
                "simulating: {done} of {trials} runs done, {} of their time",
                progress::clock(simulated)
            );
            if done > 0 {
                let left = begun.elapsed().mul_f64((trials - done) as f64 / done as f64);
                line += &format!(", about {} left", progress::clock(left));
            }
            status.show(std::slice::from_ref(&line), &line);
            thread::sleep(LOOK_EVERY);
        }
        anyhow::Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenario_of_the_help_is_one() {
        let text: String = SCENARIOS.lines().skip(3).map(|line| format!("{line}\n")).collect();
        let plan = Plan::read("help", &text, &[]).map(|plan| (plan.classes.len(), plan.hosts()));
        // There is no seed in it, whose uplink would count.
        assert_eq!(plan, Ok((1, 20)));
    }
}

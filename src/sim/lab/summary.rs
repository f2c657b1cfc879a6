//! Results for programs: one object with all of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::sim;
use crate::sim::broadcast::Show;

use super::programme::Programme;
use super::results::Results;
use super::spread::Spread;
use super::vary::Case;

/// Everything about the runs of several cases.
#[derive(Debug, Serialize)]
pub struct Summaries {
    cases: Vec<CaseSummary>,
}

#[derive(Debug, Serialize)]
struct CaseSummary {
    /// What was set, as it was written.
    set: BTreeMap<String, String>,
    #[serde(flatten)]
    summary: Summary,
}

impl Summaries {
    /// What a program reads of these.
    pub fn new(cases: &[(&Case, Results<'_>)]) -> Self {
        let summary = |(case, results): &(&Case, Results<'_>)| CaseSummary {
            set: case.said.iter().cloned().collect(),
            summary: Summary::new(results),
        };
        Self { cases: cases.iter().map(summary).collect() }
    }
}

/// Everything about some runs.
#[derive(Debug, Serialize)]
pub struct Summary {
    scenario: String,
    title: String,
    seeds: Vec<u64>,
    limit: f64,
    film: Option<Film>,
    broadcast: Option<Broadcast>,
    max_peers: usize,
    supply: Option<f64>,
    hosts: Vec<Hosts>,
    results: Vec<Figures>,
}

#[derive(Debug, Serialize)]
struct Film {
    length: u64,
    bitrate: u64,
    piece_length: u32,
}

#[derive(Debug, Serialize)]
struct Broadcast {
    bitrate: u64,
    piece_length: u32,
    ring: f64,
}

#[derive(Debug, Serialize)]
struct Hosts {
    name: String,
    count: usize,
    role: &'static str,
    up: Option<u64>,
    down: Option<u64>,
    upload_limit: Option<u64>,
    nat: f64,
    policy: Option<&'static str>,
    behaviour: &'static str,
}

#[derive(Debug, Serialize)]
struct Figures {
    policy: &'static str,
    /// When the runs ended.
    end: Spread,
    all: BTreeMap<&'static str, Spread>,
    classes: BTreeMap<String, BTreeMap<&'static str, Spread>>,
}

impl Summary {
    /// What a program reads of these.
    pub fn new(results: &Results<'_>) -> Self {
        let plan = results.plan;
        let rate = |rate| (rate > 0).then_some(rate);
        let hosts = plan.classes.iter().map(|class| Hosts {
            name: class.name.clone(),
            count: class.count,
            role: class.role.name(),
            up: rate(plan.up(class)),
            down: rate(class.access.down.of(plan.programme.bitrate())),
            upload_limit: rate(class.upload_limit.of(plan.programme.bitrate())),
            nat: class.nat,
            policy: class.policy.map(|policy| policy.name()),
            behaviour: class.conduct.name(),
        });
        let figures = results.series.iter().filter_map(|series| {
            let classes = plan.classes.iter().enumerate();
            Some(Figures {
                policy: series.policy.name(),
                end: Spread::of(series.runs.iter().map(|run| run.end.micros() as f64 / 1e6))?,
                all: series.figures(None),
                classes: classes.map(|(n, class)| (class.name.clone(), series.figures(Some(n)))).collect(),
            })
        });
        let (film, broadcast) = match plan.programme {
            Programme::Film(sim::scenario::Film { seconds, bitrate, piece_length }) => {
                (Some(Film { length: seconds, bitrate, piece_length }), None)
            }
            Programme::Broadcast(Show { bitrate, piece_length, ring, .. }) => {
                (None, Some(Broadcast { bitrate, piece_length, ring: ring.as_secs_f64() }))
            }
        };
        Self {
            scenario: plan.name.clone(),
            title: plan.title.clone(),
            seeds: results.seeds.clone(),
            limit: plan.limit.as_secs_f64(),
            film,
            broadcast,
            max_peers: plan.max_peers,
            supply: plan.supply,
            hosts: hosts.collect(),
            results: figures.collect(),
        }
    }
}

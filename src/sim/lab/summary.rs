//! Results for programs: one object with all of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::results::Results;
use super::spread::Spread;

/// Everything about some runs.
#[derive(Debug, Serialize)]
pub struct Summary {
    scenario: String,
    title: String,
    seeds: Vec<u64>,
    limit: f64,
    film: Film,
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
            down: rate(class.access.down.of(plan.film.bitrate)),
            upload_limit: rate(class.upload_limit.of(plan.film.bitrate)),
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
        Self {
            scenario: plan.name.clone(),
            title: plan.title.clone(),
            seeds: results.seeds.clone(),
            limit: plan.limit.as_secs_f64(),
            film: Film {
                length: plan.film.seconds,
                bitrate: plan.film.bitrate,
                piece_length: plan.film.piece_length,
            },
            max_peers: plan.max_peers,
            supply: plan.supply,
            hosts: hosts.collect(),
            results: figures.collect(),
        }
    }
}

//! All runs of a scenario, as the values that tables, JSON and pictures show.

use std::collections::BTreeMap;

use crate::swarm::policy::Policy;

use super::figures::{FIGURES, Figure, Group};
use super::outcome::Outcome;
use super::plan::Plan;
use super::spread::Spread;
use super::trial::Trial;

/// What came out with one policy.
#[derive(Clone, Debug)]
pub struct Series {
    /// What engines followed whose class names nothing else.
    pub policy: Policy,
    /// Its runs, seed by seed.
    pub runs: Vec<Outcome>,
}

/// All runs of a scenario.
#[derive(Clone, Debug)]
pub struct Results<'a> {
    /// What was run.
    pub plan: &'a Plan,
    /// The seeds of each series.
    pub seeds: Vec<u64>,
    /// What came out, policy by policy.
    pub series: Vec<Series>,
}

impl<'a> Results<'a> {
    /// Sorts what came out of a batch.
    pub fn new(plan: &'a Plan, outcomes: Vec<(Trial, Outcome)>) -> Self {
        let mut series: Vec<Series> = Vec::new();
        let mut seeds = Vec::new();
        for (trial, run) in outcomes {
            match series.iter_mut().find(|series| series.policy == trial.policy) {
                Some(series) => series.runs.push(run),
                None => series.push(Series { policy: trial.policy, runs: vec![run] }),
            }
            if series.len() == 1 {
                seeds.push(trial.seed);
            }
        }
        Self { plan, seeds, series }
    }
}

impl Series {
    /// A figure over all runs; of a class by its place in the plan, or of all hosts.
    pub fn spread(&self, figure: &Figure, class: Option<usize>) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| (figure.of)(&Group::new(run, class))))
    }

    /// All figures that there are.
    pub fn figures(&self, class: Option<usize>) -> BTreeMap<&'static str, Spread> {
        let known = |figure: &Figure| Some((figure.key, self.spread(figure, class)?));
        FIGURES.iter().filter_map(known).collect()
    }
}

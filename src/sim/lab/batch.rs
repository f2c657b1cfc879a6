//! Many runs of a scenario at once: with several seeds, with several policies.
//!
//! Each run is of one thread and knows nothing of the others, so what comes out does not depend on how many threads
//! [`work`](Batch::work).

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::swarm::policy::Policy;
use crate::time::Duration;

use super::outcome::Outcome;
use super::plan::Plan;
use super::trial::Trial;

/// Most runs of a batch.
pub const MAX_TRIALS: usize = 1_000;

/// A run that broke a rule that no run may break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("with seed {seed} and {policy}: {rule}; that is a bug of the engine or of the simulator")]
pub struct Broken {
    /// Its seed.
    pub seed: u64,
    /// Its policy.
    pub policy: Policy,
    /// What was said of it.
    pub rule: String,
}

/// Runs to be made, and what came out of those that are.
pub struct Batch<'a> {
    plan: &'a Plan,
    trials: Vec<Trial>,
    next: AtomicUsize,
    done: AtomicUsize,
    /// Seconds that were simulated in all runs.
    simulated: AtomicU64,
    stopped: AtomicBool,
    outcomes: Mutex<Vec<Option<Result<Outcome, Broken>>>>,
}

impl<'a> Batch<'a> {
    /// Each policy with each of so many seeds from the first one on.
    pub fn new(plan: &'a Plan, seeds: usize, policies: &[Policy]) -> Self {
        let seeds = (plan.seed..).take(seeds);
        let trials =
            policies.iter().flat_map(|policy| seeds.clone().map(|seed| Trial { seed, policy: *policy }));
        let trials: Vec<_> = trials.take(MAX_TRIALS).collect();
        Self {
            plan,
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            simulated: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            outcomes: Mutex::new(vec![None; trials.len()]),
            trials,
        }
    }

    /// Runs what is left, until nothing is, or until it is stopped. For as many threads as one likes.
    pub fn work(&self) {
        while !self.is_stopped() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(trial) = self.trials.get(number) else { return };
            let result = catch_unwind(AssertUnwindSafe(|| self.run(*trial)));
            let outcome = match result {
                Ok(None) => return,
                Ok(Some(outcome)) => Ok(outcome),
                Err(panic) => Err(Broken { seed: trial.seed, policy: trial.policy, rule: said(&*panic) }),
            };
            if outcome.is_err() {
                self.stop();
            }
            self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(outcome);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends all runs within a second of their time.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.done() == self.trials.len()
    }

    /// How many runs there are.
    pub const fn trials(&self) -> usize {
        self.trials.len()
    }

    /// How many of them are done.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// What was simulated in all runs so far.
    pub fn simulated(&self) -> Duration {
        Duration::from_secs(self.simulated.load(Ordering::Relaxed))
    }

    /// What came out, in the order of policies and seeds; `None` when it was stopped before.
    ///
    /// # Errors
    /// When a run broke a rule.
    pub fn outcomes(self) -> Result<Option<Vec<(Trial, Outcome)>>, Broken> {
        let outcomes = self.outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(broken) = outcomes.iter().flatten().find_map(|outcome| outcome.as_ref().err()) {
            return Err(broken.clone());
        }
        let all: Option<Vec<_>> = outcomes.into_iter().map(|outcome| outcome?.ok()).collect();
        Ok(all.map(|all| self.trials.into_iter().zip(all).collect()))
    }

    /// Whether it is to end before all is done.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn run(&self, trial: Trial) -> Option<Outcome> {
        let mut before = 0;
        trial.run(self.plan, |now| {
            let seconds = now.micros() / 1_000_000;
            self.simulated.fetch_add(seconds - before, Ordering::Relaxed);
            before = seconds;
            if self.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }
}

/// What a panic says.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason is given").to_owned()
}

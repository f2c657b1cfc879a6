//! The figures of a run: one list, which tables, JSON and help are made from.

use super::outcome::{HostOutcome, LiveViewing, Outcome, Viewing};
use super::spread::percentile_of;

/// Who has not waited for so long, in seconds, and has seen nothing says nothing of start-up times.
const PATIENCE: f64 = 20.0;
/// A start-up that people take, in seconds.
const SHORT_WAIT: f64 = 10.0;

/// What a figure is counted in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Whole things; means of them may have parts.
    Count,
    /// Seconds.
    Seconds,
    /// Parts of one, shown as percents.
    Share,
    /// How many times.
    Ratio,
}

/// Some hosts of a run, and the run.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    hosts: Vec<&'a HostOutcome>,
    run: &'a Outcome,
    /// All hosts: what they gave is what they got.
    whole: bool,
}

/// One figure.
pub struct Figure {
    /// Its name in JSON.
    pub key: &'static str,
    /// Its name in tables.
    pub label: &'static str,
    /// What it is, for the help.
    pub what: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// Its value; `None` where it means nothing.
    pub of: fn(&Group<'_>) -> Option<f64>,
}

const fn figure(
    key: &'static str,
    label: &'static str,
    unit: Unit,
    what: &'static str,
    of: fn(&Group<'_>) -> Option<f64>,
) -> Figure {
    Figure { key, label, what, unit, of }
}

/// All figures, in the order of tables.
pub const FIGURES: [Figure; 23] = [
    figure("viewers", "viewers", Unit::Count, "who came to watch", |g| g.some(g.viewings().count() as f64)),
    figure("start_up_p50", "start-up, median", Unit::Seconds, "from opening to the first picture", |g| {
        percentile_of(g.start_ups(), 50)
    }),
    figure("start_up_p95", "start-up, 95 %", Unit::Seconds, "the same, of the last of 95 %", |g| {
        percentile_of(g.start_ups(), 95)
    }),
    figure("ended_share", "saw the end", Unit::Share, "viewers who saw the end", |g| {
        g.share(|v| v.ended).filter(|_| g.lives().next().is_none())
    }),
    figure(
        "smooth_share",
        "without a stall",
        Unit::Share,
        "viewers who saw all they wanted and never stalled",
        |g| g.share(|v| v.is_smooth()),
    ),
    figure("stalls_mean", "stalls, mean", Unit::Ratio, "stalls of a viewer", |g| g.mean(|v| v.stalls.into())),
    figure("stalls_p95", "stalls, 95 %", Unit::Count, "stalls of the last of 95 % of the viewers", |g| {
        percentile_of(g.viewings().map(|v| v.stalls.into()), 95)
    }),
    figure("stall_time_mean", "stalled, mean", Unit::Seconds, "time that a viewer spent in stalls", |g| {
        g.mean(|v| v.stall_time)
    }),
    figure("stall_time_p95", "stalled, 95 %", Unit::Seconds, "the same, of the last of 95 %", |g| {
        percentile_of(g.viewings().map(|v| v.stall_time), 95)
    }),
    figure(
        "underruns",
        "underruns",
        Unit::Count,
        "times when something played and had nothing to show",
        |g| g.some(g.viewings().map(|v| f64::from(v.underruns)).sum()),
    ),
    figure(
        "dropped_share",
        "dropped",
        Unit::Share,
        "pieces of a broadcast that were not there in time",
        |g| {
            let [taken, dropped] = [|live: LiveViewing| live.taken, |live: LiveViewing| live.dropped]
                .map(|of| g.lives().map(of).sum::<u64>());
            ratio(dropped, taken + dropped)
        },
    ),
    figure("delay_p50", "behind, median", Unit::Seconds, "from the capture to the screen, at the end", |g| {
        percentile_of(g.delays(), 50)
    }),
    figure("delay_p95", "behind, 95 %", Unit::Seconds, "the same, of the last of 95 %", |g| {
        percentile_of(g.delays(), 95)
    }),
    figure(
        "needed_p50",
        "needed start-up, median",
        Unit::Seconds,
        "the start-up with which a player with an endless buffer never stalls",
        |g| percentile_of(g.needed(), 50),
    ),
    figure("needed_p95", "needed start-up, 95 %", Unit::Seconds, "the same, of the last of 95 %", |g| {
        percentile_of(g.needed(), 95)
    }),
    figure("needed_max", "needed start-up, most", Unit::Seconds, "the same, of the last one", |g| {
        percentile_of(g.needed(), 100)
    }),
    figure(
        "through_share",
        "through from 10 s",
        Unit::Share,
        "viewers who need a start-up of 10 s at most",
        |g| {
            let (all, good) = (g.needed().count(), g.needed().filter(|needed| *needed <= SHORT_WAIT).count());
            (all > 0).then(|| good as f64 / all as f64)
        },
    ),
    figure("completed_share", "had everything", Unit::Share, "those who got everything", |g| {
        let (all, done) = (g.fed().count(), g.fed().filter(|host| host.completed.is_some()).count());
        (all > 0).then(|| done as f64 / all as f64)
    }),
    figure(
        "completion_p50",
        "everything, median",
        Unit::Seconds,
        "from coming to having everything, of those who did not leave before",
        |g| percentile_of(g.completions(), 50),
    ),
    figure("completion_p95", "everything, 95 %", Unit::Seconds, "the same, of the last of 95 %", |g| {
        percentile_of(g.completions(), 95)
    }),
    figure("given_per_got", "given per got", Unit::Ratio, "bytes given for each byte got", |g| {
        ratio(g.part()?.sum(|h| h.given), g.sum(|h| h.got))
    }),
    figure("given_share", "given of all", Unit::Share, "their part of all bytes that anybody gave", |g| {
        ratio(g.part()?.sum(|h| h.given), g.run.hosts().map(|h| h.given).sum())
    }),
    figure("waste_share", "wasted of got", Unit::Share, "bytes got that were of no use", |g| {
        ratio(g.sum(|h| h.wasted), g.sum(|h| h.got))
    }),
];

/// Keys of those that matter most.
pub const MAIN: [&str; 8] = [
    "start_up_p50",
    "start_up_p95",
    "smooth_share",
    "stall_time_p95",
    "dropped_share",
    "delay_p50",
    "delay_p95",
    "given_share",
];

impl<'a> Group<'a> {
    /// The hosts of one class, by its place in the plan; `None`: all of them.
    pub fn new(run: &'a Outcome, class: Option<usize>) -> Self {
        let hosts = match class {
            Some(class) => run.classes[class].iter().collect(),
            None => run.hosts().collect(),
        };
        Self { hosts, run, whole: class.is_none() }
    }

    /// What the viewers among them saw.
    pub fn viewings(&self) -> impl Iterator<Item = &'a Viewing> {
        self.hosts.iter().filter_map(|host| host.viewing.as_ref())
    }

    /// Start-ups in seconds, infinite of those who saw nothing.
    pub fn start_ups(&self) -> impl Iterator<Item = f64> {
        let stays = self.hosts.iter().filter_map(|host| Some((host.stay, host.viewing.as_ref()?.start_up)));
        stays.filter(|(stay, start)| start.is_finite() || *stay > PATIENCE).map(|(_, start)| start)
    }

    fn needed(&self) -> impl Iterator<Item = f64> {
        self.viewings().filter_map(|viewing| viewing.needed)
    }

    /// Those who need a film.
    fn fed(&self) -> impl Iterator<Item = &'a HostOutcome> {
        let live = |host: &HostOutcome| host.viewing.as_ref().is_some_and(|viewing| viewing.live.is_some());
        self.hosts.iter().copied().filter(move |host| host.role.is_fed() && !live(host))
    }

    /// What those saw who watch a broadcast.
    fn lives(&self) -> impl Iterator<Item = LiveViewing> {
        self.viewings().filter_map(|viewing| viewing.live)
    }

    fn delays(&self) -> impl Iterator<Item = f64> {
        self.lives().filter_map(|live| live.delay)
    }

    /// In seconds, infinite of those who are still at it.
    fn completions(&self) -> impl Iterator<Item = f64> {
        let stayed = self.fed().filter(|host| host.completed.is_some() || !host.left);
        stayed.map(|host| host.completed.unwrap_or(f64::INFINITY))
    }

    /// Itself, if it is not all hosts.
    const fn part(&self) -> Option<&Self> {
        if self.whole { None } else { Some(self) }
    }

    fn sum(&self, of: impl Fn(&HostOutcome) -> u64) -> u64 {
        self.hosts.iter().map(|host| of(host)).sum()
    }

    /// A figure of viewers, if there are any.
    fn some(&self, value: f64) -> Option<f64> {
        self.viewings().next().map(|_| value)
    }

    fn share(&self, is: impl Fn(&Viewing) -> bool) -> Option<f64> {
        self.mean(|viewing| f64::from(u8::from(is(viewing))))
    }

    fn mean(&self, of: impl Fn(&Viewing) -> f64) -> Option<f64> {
        let count = self.viewings().count();
        (count > 0).then(|| self.viewings().map(of).sum::<f64>() / count as f64)
    }
}

fn ratio(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

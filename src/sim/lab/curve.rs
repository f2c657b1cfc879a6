//! The lines of a picture: a policy each, or a class of viewers each where there is one policy.

use std::collections::BTreeMap;

use plotters::style::RGBColor;

use super::class::Role;
use super::figures::Group;
use super::level::Level;
use super::results::{Results, Series};

/// Colours that those can tell apart, too, who see fewer of them (Okabe and Ito, 2008).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];
/// What is neither.
const OTHER: RGBColor = RGBColor(150, 156, 166);
/// Values of a distribution that a picture shows; of more, so many are picked evenly.
const MOST_VALUES: usize = 500;

/// One line.
pub(super) struct Curve {
    /// What it is called.
    pub(super) name: String,
    /// How it is drawn.
    pub(super) color: RGBColor,
    /// Seconds, in order.
    pub(super) start_ups: Vec<f64>,
    /// Seconds, in order.
    pub(super) stalls: Vec<f64>,
    /// Means over all runs.
    pub(super) levels: Vec<Level>,
}

/// The lines of some results.
pub(super) fn curves(results: &Results<'_>) -> Vec<Curve> {
    let viewers: Vec<_> = viewers(results).collect();
    match (results.series.as_slice(), viewers.as_slice()) {
        ([only], [_, _, ..]) => {
            let named = |n: &usize| {
                Curve::new(
                    results.plan.classes[*n].name.clone(),
                    Curve::color(results, 0, *n),
                    only,
                    Some(*n),
                )
            };
            viewers.iter().map(named).collect()
        }
        (series, _) => {
            let named = |(n, series): (usize, &Series)| {
                Curve::new(series.policy.to_string(), COLORS[n % COLORS.len()], series, None)
            };
            series.iter().enumerate().map(named).collect()
        }
    }
}

/// The places of classes of viewers.
fn viewers(results: &Results<'_>) -> impl Iterator<Item = usize> {
    let classes = results.plan.classes.iter().enumerate();
    classes.filter(|(_, class)| class.role == Role::Viewer && class.count > 0).map(|(n, _)| n)
}

impl Curve {
    /// The colour of a class with one of the policies.
    pub(super) fn color(results: &Results<'_>, series: usize, class: usize) -> RGBColor {
        let place = viewers(results).position(|n| n == class);
        match (results.series.len(), place) {
            (1, None) => OTHER,
            (1, Some(place)) => COLORS[place % COLORS.len()],
            _ => COLORS[series % COLORS.len()],
        }
    }

    fn new(name: String, color: RGBColor, series: &Series, class: Option<usize>) -> Self {
        let groups = || series.runs.iter().map(|run| Group::new(run, class));
        let start_ups = groups().flat_map(|group| group.start_ups().collect::<Vec<_>>());
        let stalls = groups().flat_map(|group| group.viewings().map(|v| v.stall_time).collect::<Vec<_>>());
        Self {
            name,
            color,
            start_ups: sorted(start_ups.collect()),
            stalls: sorted(stalls.collect()),
            levels: means(series.runs.iter().flat_map(|run| run.levels(class))),
        }
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let (all, shown) = (values.len(), values.len().min(MOST_VALUES));
    (1..=shown).map(|n| values[n * all / shown - 1]).collect()
}

/// The means of what was seen at the same time.
fn means<'a>(levels: impl Iterator<Item = &'a Level>) -> Vec<Level> {
    let mut sums: BTreeMap<u64, (f64, Level)> = BTreeMap::new();
    for level in levels {
        let none = Level { at: level.at, low: 0.0, middle: 0.0, high: 0.0 };
        let (count, sum) = sums.entry(level.at).or_insert((0.0, none));
        *count += 1.0;
        sum.low += level.low;
        sum.middle += level.middle;
        sum.high += level.high;
    }
    let mean = |(count, sum): (f64, Level)| Level {
        low: sum.low / count,
        middle: sum.middle / count,
        high: sum.high / count,
        ..sum
    };
    sums.into_values().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_values_are_thinned_evenly_and_keep_their_ends() {
        let values = sorted((1..=2_000).rev().map(f64::from).collect());
        assert_eq!((values.len(), values[0], values[499]), (500, 4.0, 2_000.0));
        assert_eq!(sorted(vec![2.0, 1.0]), [1.0, 2.0]);
    }

    #[test]
    fn levels_of_several_runs_are_their_mean() {
        let level = |at, middle| Level { at, low: 0.0, middle, high: 10.0 };
        let means = means([level(0, 2.0), level(1, 3.0), level(0, 4.0)].iter());
        assert_eq!(means, [level(0, 3.0), level(1, 3.0)]);
    }
}

//! Percentiles of one run, and how runs differ.

use serde::Serialize;

/// The least of these, in order, that is not below `percent` of a hundred of them.
pub(super) fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

/// The same of values in any order.
pub(super) fn percentile_of(values: impl Iterator<Item = f64>, percent: usize) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    percentile(&values, percent)
}

/// A figure over some runs. What never came is infinite here, and `null` as JSON.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The mean of all runs that have it.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of all runs that have the figure; `None` when none has.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<_> = values.collect();
        let min = values.iter().copied().min_by(f64::total_cmp)?;
        let max = values.iter().copied().max_by(f64::total_cmp)?;
        Some(Self { mean: values.iter().sum::<f64>() / values.len() as f64, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_are_there() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(
            [0, 25, 50, 51, 95, 100].map(|p| percentile(&values, p).unwrap()),
            [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
        );
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile_of([f64::INFINITY, 1.0].into_iter(), 95), Some(f64::INFINITY));
    }

    #[test]
    fn a_spread_has_a_mean_between_its_ends() {
        let spread = Spread::of([2.0, 1.0, 6.0].into_iter()).unwrap();
        assert_eq!((spread.min, spread.mean, spread.max), (1.0, 3.0, 6.0));
        assert_eq!(Spread::of(std::iter::empty()), None);
    }
}

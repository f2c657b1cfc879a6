//! A scenario in several cases, for people: a line is a case and a policy, a column is a figure.

use std::fmt;

use super::figures::{FIGURES, Figure, MAIN};
use super::results::Results;
use super::table::{grid, label, shown};
use super::vary::Case;

/// What came out, case by case, and the figures that are shown.
pub struct Matrix<'a> {
    cases: Vec<(&'a Case, Results<'a>)>,
    figures: Vec<&'static Figure>,
}

impl<'a> Matrix<'a> {
    /// A matrix of these figures, by their keys; of the main ones if none is named.
    pub fn new(cases: Vec<(&'a Case, Results<'a>)>, keys: &[&str]) -> Self {
        let keys = if keys.is_empty() { &MAIN } else { keys };
        Self { cases, figures: FIGURES.iter().filter(|figure| keys.contains(&figure.key)).collect() }
    }

    /// Nothing where nobody of the class has any of the figures.
    fn rows(&self, class: Option<usize>) -> Vec<Vec<String>> {
        let series = self.cases.iter().flat_map(|(case, results)| {
            let said = case.said.iter().map(|(_, value)| value.clone());
            results.series.iter().map(move |series| (said.clone(), series))
        });
        let series: Vec<_> = series.collect();
        let there = |figure: &&&Figure| series.iter().any(|(_, s)| s.spread(figure, class).is_some());
        let figures: Vec<_> = self.figures.iter().filter(there).collect();
        if figures.is_empty() {
            return Vec::new();
        }
        let keys =
            self.cases.first().into_iter().flat_map(|(case, _)| &case.said).map(|(key, _)| key.clone());
        let name = self.cases.first().map(|(_, results)| results.name(class).to_owned());
        let head = name.into_iter().chain(keys).chain(figures.iter().map(|figure| label(figure)));
        let mut rows = vec![head.collect::<Vec<_>>()];
        for (said, series) in &series {
            let cells = figures.iter().map(|figure| shown(series.spread(figure, class), figure.unit));
            rows.push([series.policy.to_string()].into_iter().chain(said.clone()).chain(cells).collect());
        }
        rows
    }
}

impl fmt::Display for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (case, results)) in self.cases.iter().enumerate() {
            if n == 0 {
                writeln!(f, "{}: {}", results.plan.name, results.plan.title)?;
                writeln!(f, "{}", results.which_and_what_is_shown())?;
            }
            let said = case.said.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
            let colon = if said.is_empty() { "" } else { ": " };
            writeln!(f, "{}{colon}{}", said.join(" "), results.what())?;
        }
        for class in self.cases.first().iter().flat_map(|(_, results)| results.groups()) {
            let rows = self.rows(class);
            if !rows.is_empty() {
                write!(f, "\n{}", grid(&rows))?;
            }
        }
        Ok(())
    }
}

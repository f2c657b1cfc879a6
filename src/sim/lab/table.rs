//! Results for people: what was run, and a figure a line.

use std::fmt::{self, Write as _};

use crate::metainfo::playtime;
use crate::sim::conduct::Conduct;
use crate::sim::world::Tracker;
use crate::swarm::policy::Policy;

use super::class::Class;
use super::figures::{FIGURES, Figure, Unit};
use super::plan::Plan;
use super::results::{Results, Series};
use super::spread::Spread;

/// Space between columns.
const GAP: usize = 2;

impl fmt::Display for Results<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        let groups = self.groups();
        if let [only] = self.series.as_slice() {
            let columns: Vec<_> = groups.map(|class| (self.name(class), only, class)).collect();
            return write!(f, "\n{}", block(only.policy.name(), &columns));
        }
        for class in groups {
            let columns = self.series.iter().map(|series| (series.policy.name(), series, class));
            write!(f, "\n{}", block(self.name(class), &columns.collect::<Vec<_>>()))?;
        }
        Ok(())
    }
}

impl Results<'_> {
    /// Whose figures are shown: each class's, and those of all hosts.
    pub(super) fn groups(&self) -> impl Iterator<Item = Option<usize>> + use<> {
        let classes = (0..self.plan.classes.len()).map(Some);
        // All together are told apart from a class only where there are several that want something.
        let several = self.plan.classes.iter().filter(|class| class.is_fed()).count() > 1;
        classes.chain(several.then_some(None))
    }

    pub(super) fn name(&self, class: Option<usize>) -> &str {
        class.map_or("all", |class| &self.plan.classes[class].name)
    }

    /// What is watched, and what holds for everybody.
    pub(super) fn what(&self) -> String {
        let plan = self.plan;
        let tracker = match plan.tracker {
            Tracker::Everybody => "all".to_owned(),
            Tracker::Some(least, most) if least == most => least.to_string(),
            Tracker::Some(least, most) => format!("{least} to {most}"),
        };
        format!(
            "{}, tracker tells {tracker}, at most {} peers{}, limit {}",
            plan.programme,
            plan.max_peers,
            plan.supply.map(|supply| format!(", supply {supply}")).unwrap_or_default(),
            playtime::format(plan.limit)
        )
    }

    /// With which seeds.
    pub(super) fn which(&self) -> String {
        match self.seeds.as_slice() {
            [first, .., last] => format!("seeds {first} to {last}"),
            seeds => format!("seed {}", seeds.first().copied().unwrap_or_default()),
        }
    }

    /// With which seeds, and what is told of them.
    pub(super) fn which_and_what_is_shown(&self) -> String {
        let several = if self.seeds.len() > 1 { ": means, and in brackets least and most" } else { "" };
        self.which() + several
    }

    /// What was run.
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        writeln!(f, "{}: {}", plan.name, plan.title)?;
        writeln!(f, "{}", self.what())?;
        writeln!(f, "{}", self.which_and_what_is_shown())?;
        let policy = match self.series.as_slice() {
            [only] => Some(only.policy),
            _ => None,
        };
        let head = ["hosts", "count", "role", "up", "down", "limit", "nat", "policy", "behaviour"]
            .map(str::to_owned);
        let rows = plan.classes.iter().map(|class| hosts(plan, class, policy));
        let mut rows: Vec<_> = [head].into_iter().chain(rows).map(Vec::from).collect();
        if plan.classes.iter().all(|class| class.conduct == Conduct::Honest) {
            rows.iter_mut().for_each(|row| _ = row.pop());
        }
        write!(f, "\n{}", grid(&rows))
    }
}

/// The line of a class; `policy`: what is in place of the default, if one is.
fn hosts(plan: &Plan, class: &Class, policy: Option<Policy>) -> [String; 9] {
    let rate = |rate| if rate == 0 { "-".to_owned() } else { bits(rate) };
    let policy = match class.policy(policy.unwrap_or_default()) {
        Policy::GiveToGet if policy.is_none() => "compared".to_owned(),
        policy => policy.to_string(),
    };
    [
        class.name.clone(),
        class.count.to_string(),
        class.role.name().to_owned(),
        rate(plan.up(class)),
        rate(class.access.down.of(plan.programme.bitrate())),
        rate(class.upload_limit.of(plan.programme.bitrate())),
        percent(class.nat),
        policy,
        class.conduct.name().to_owned(),
    ]
}

/// A figure a line, of some columns: their heads, and whose figures they show.
fn block(title: &str, columns: &[(&str, &Series, Option<usize>)]) -> String {
    let mut rows =
        vec![[title].into_iter().chain(columns.iter().map(|(head, ..)| *head)).map(str::to_owned).collect()];
    for figure in &FIGURES {
        let cells: Vec<_> = columns.iter().map(|(_, series, class)| series.spread(figure, *class)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| shown(cell, figure.unit));
            rows.push([label(figure)].into_iter().chain(cells).collect());
        }
    }
    grid(&rows)
}

/// What a figure is called.
pub(super) fn label(figure: &Figure) -> String {
    let unit = if figure.unit == Unit::Seconds { ", s" } else { "" };
    figure.label.to_owned() + unit
}

/// A figure as people read it.
pub(super) fn shown(spread: Option<Spread>, unit: Unit) -> String {
    let Some(Spread { mean, min, max }) = spread else { return "-".to_owned() };
    let one = |value: f64| match unit {
        _ if value.is_infinite() => "never".to_owned(),
        Unit::Count if value.fract() == 0.0 => format!("{value:.0}"),
        Unit::Count => format!("{value:.1}"),
        Unit::Seconds | Unit::Ratio => format!("{value:.2}"),
        Unit::Share => format!("{:.1}", value * 100.0),
    };
    let percent = if unit == Unit::Share { " %" } else { "" };
    let [mean, min, max] = [mean, min, max].map(one);
    if min == max { mean + percent } else { format!("{mean}{percent} ({min} - {max})") }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Bytes/s as the bits that people count them in.
pub(super) fn bits(rate: u64) -> String {
    let kbit = rate as f64 / 125.0;
    if kbit < 1_000.0 { format!("{kbit:.0} kbit/s") } else { format!("{:.2} Mbit/s", kbit / 1_000.0) }
}

/// Columns as wide as they have to be: the first one to the left, the others to the right.
pub(super) fn grid(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (n, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing into a string cannot fail.
            let _ = match n {
                0 => write!(line, "{cell:<width$}"),
                _ => write!(line, "{cell:>0$}", width + GAP),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_what_never_came_says_so() {
        let spread = |mean, min, max| Some(Spread { mean, min, max });
        assert_eq!(shown(None, Unit::Seconds), "-");
        assert_eq!(shown(spread(1.234, 1.234, 1.234), Unit::Seconds), "1.23");
        assert_eq!(shown(spread(2.5, 2.0, 3.0), Unit::Count), "2.5 (2 - 3)");
        assert_eq!(shown(spread(f64::INFINITY, 2.0, f64::INFINITY), Unit::Seconds), "never (2.00 - never)");
        assert_eq!(shown(spread(0.931, 0.931, 0.931), Unit::Share), "93.1 %");
        assert_eq!(shown(spread(0.5, 0.25, 0.75), Unit::Share), "50.0 % (25.0 - 75.0)");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["aaa".to_owned(), "b".to_owned()]];
        assert_eq!(grid(&rows), "a    bb\naaa   b\n");
    }
}

//! A scenario as its file has it: everything that a run depends on.

use toml::Table;

use crate::sim::world::Tracker;
use crate::time::Duration;

use super::class::{Class, MAX_HOSTS};
use super::error::ScenarioError;
use super::programme::Programme;
use super::section::Section;
use super::setting::Setting;
use super::values::{Rate, Span, Supply, Told, Whole};

/// Bytes of a scenario's file.
pub const MAX_FILE: usize = 64 << 10;
/// Classes of hosts.
const MAX_CLASSES: usize = 16;
/// Bytes that runs may take, all that are made at a time together.
const MAX_MEMORY: u64 = 4 << 30;
/// Bytes of a host, ...
const HOST_MEMORY: u64 = 64 << 10;
/// ... for each piece of the film, ...
const PIECE_MEMORY: u64 = 8;
/// ... for each of its peers, and for so many pieces of each of them a byte: what it has is known to the engine and to
/// its watcher.
const PEER_MEMORY: u64 = 4 << 10;
const PIECES_A_BYTE: u64 = 3;

/// A scenario.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it is called: its file without the ending.
    pub name: String,
    /// What happens in it.
    pub title: String,
    /// The first seed.
    pub seed: u64,
    /// A run ends after this time.
    pub limit: Duration,
    /// What is watched.
    pub programme: Programme,
    /// What the tracker tells.
    pub tracker: Tracker,
    /// Connections of one engine.
    pub max_peers: usize,
    /// What all uplinks have of what all who want the film need; `None`: what the classes say.
    pub supply: Option<f64>,
    /// Who is there.
    pub classes: Vec<Class>,
}

impl Plan {
    /// Reads a scenario; `name` is for messages.
    ///
    /// # Errors
    /// When the text, or what is set instead, is no scenario.
    pub fn read(name: &str, text: &str, settings: &[Setting]) -> Result<Self, ScenarioError> {
        if text.len() > MAX_FILE {
            return Err(ScenarioError::TooLong { file: name.to_owned(), length: text.len(), most: MAX_FILE });
        }
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| ScenarioError::Syntax {
            file: name.to_owned(),
            line: text
                .bytes()
                .take(error.span().map_or(0, |span| span.start))
                .filter(|b| *b == b'\n')
                .count()
                + 1,
            message: error.message().replace('\n', ", "),
        })?;
        settings.iter().try_for_each(|setting| setting.apply(name, &mut table))?;
        let mut section = Section::new(name, table);
        let plan = Self {
            name: name.to_owned(),
            title: section.require("title")?,
            seed: section.or("seed", Whole::<0, { i64::MAX as u64 }>(1))?.0,
            limit: section.or("limit", Span(Duration::from_secs(600)))?.0,
            programme: Programme::read(&mut section)?,
            tracker: match section.or("tracker", Told(None))?.0 {
                Some(told) => Tracker::Some(*told.start(), *told.end()),
                None => Tracker::Everybody,
            },
            max_peers: section.or("max-peers", Whole::<1, 1_000>(80))?.0 as usize,
            supply: section.take::<Supply>("supply")?.map(|supply| supply.0),
            classes: section.sections("hosts")?.into_iter().map(Class::read).collect::<Result<_, _>>()?,
        };
        plan.check(&section)?;
        section.finish()?;
        Ok(plan)
    }

    /// Bytes/s that a host of this class sends.
    pub fn up(&self, class: &Class) -> u64 {
        let own = class.access.up.of(self.programme.bitrate());
        match self.scale() {
            Some(scale) if class.is_fed() && class.conduct.gives() => ((own as f64 * scale) as u64).max(1),
            _ => own,
        }
    }

    /// All hosts.
    pub fn hosts(&self) -> usize {
        self.classes.iter().map(|class| class.count).sum()
    }

    /// How many runs may be made at a time.
    pub fn runs_at_a_time(&self) -> usize {
        usize::try_from(MAX_MEMORY / self.memory()).unwrap_or(usize::MAX)
    }

    /// Bytes that a run takes, about, and rather too many.
    fn memory(&self) -> u64 {
        let (hosts, pieces) = (self.hosts() as u64, self.programme.pieces());
        let peers = (self.max_peers as u64).min(hosts);
        let each = HOST_MEMORY + pieces * PIECE_MEMORY + peers * (PEER_MEMORY + pieces / PIECES_A_BYTE);
        hosts * each + self.programme.kept(self.limit)
    }

    /// What the links of those who want the film are multiplied with, so that the sum is what `supply` says. Those who
    /// give nothing need something, and have no part in the sum.
    fn scale(&self) -> Option<f64> {
        let supply = self.supply?;
        let sum = |fed| {
            let gives = self.classes.iter().filter(|class| class.conduct.gives());
            let classes = gives.filter(move |class| class.is_fed() == fed);
            classes.map(|c| c.count as f64 * c.access.up.of(self.programme.bitrate()) as f64).sum::<f64>()
        };
        let fed = self.classes.iter().filter(|class| class.is_fed()).map(|c| c.count).sum::<usize>();
        let needed = supply * fed as f64 * self.programme.bitrate() as f64;
        Some((needed - sum(false)) / sum(true))
    }

    /// What no key can be asked alone.
    fn check(&self, section: &Section) -> Result<(), ScenarioError> {
        let wrong = |what: String| Err(section.whole(what));
        let names: Vec<_> = self.classes.iter().map(|class| class.name.as_str()).collect();
        if let Some(twice) = names.iter().enumerate().find(|(n, name)| names[..*n].contains(*name)) {
            return wrong(format!(
                "two classes of hosts are called '{}': each needs a name of its own",
                twice.1
            ));
        }
        if let Some(all) = names.iter().find(|name| **name == "all") {
            return wrong(format!("a class of hosts cannot be called '{all}': tables call their sum so"));
        }
        if self.classes.len() > MAX_CLASSES {
            return wrong(format!(
                "{} classes of hosts; at most {MAX_CLASSES} are allowed",
                self.classes.len()
            ));
        }
        if !(1..=MAX_HOSTS as usize).contains(&self.hosts()) {
            return wrong(format!("{} hosts in all: allowed are 1 to {MAX_HOSTS}", self.hosts()));
        }
        if let Some(odd) = self.programme.wrong(&self.classes) {
            return wrong(odd);
        }
        if self.runs_at_a_time() == 0 {
            return wrong(format!(
                "{} hosts of at most {} peers and {} pieces take about {} GiB, at most {} are taken: write fewer hosts, \
                 a smaller max-peers, a larger piece-length or, for a broadcast, a shorter limit",
                self.hosts(),
                self.max_peers,
                self.programme.pieces(),
                self.memory() >> 30,
                MAX_MEMORY >> 30
            ));
        }
        for class in self.classes.iter().filter(|class| self.supply.is_some() && class.conduct.gives()) {
            if class.access.up == Rate::Unlimited {
                return wrong(format!(
                    "supply needs to know what everybody sends: give hosts.{}.link.up a rate",
                    class.name
                ));
            }
        }
        if self.scale().is_some_and(|scale| scale.is_nan() || scale <= 0.0 || scale.is_infinite()) {
            return wrong(format!(
                "supply = {}: the seeds alone send more than that, or nobody else gives anything; write a larger \
                 supply, or 'link.up' of the seeds smaller",
                self.supply.unwrap_or_default()
            ));
        }
        Ok(())
    }
}

//! Hosts of one kind: what they want, how they are connected, when they come and go.

use std::ops::RangeInclusive;

use crate::sim::conduct::Conduct;
use crate::swarm::policy::Policy;
use crate::time::Duration;

use super::arrival::Arrival;
use super::error::ScenarioError;
use super::section::{Field, Section};
use super::stay::Stay;
use super::values::{Name, Rate, Share, Span, Times, Whole, one_of};

/// Most hosts of a scenario.
pub(super) const MAX_HOSTS: u64 = 10_000;

/// What a host wants.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// To watch.
    Viewer,
    /// Nothing: it has everything.
    Seed,
    /// Everything, in no hurry.
    Leecher,
    /// Nothing: it makes the broadcast.
    Broadcaster,
}

impl Role {
    const ALL: [Self; 4] = [Self::Viewer, Self::Seed, Self::Leecher, Self::Broadcaster];

    /// Its name in scenarios and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Seed => "seed",
            Self::Leecher => "leecher",
            Self::Broadcaster => "broadcaster",
        }
    }

    /// Whether it needs what others have.
    pub const fn is_fed(self) -> bool {
        matches!(self, Self::Viewer | Self::Leecher)
    }
}

impl Field for Role {
    fn wanted() -> String {
        one_of(Self::ALL.map(Self::name))
    }

    fn read(value: &toml::Value) -> Option<Self> {
        Self::ALL.into_iter().find(|role| value.as_str() == Some(role.name()))
    }
}

impl Field for Conduct {
    fn wanted() -> String {
        one_of(Self::ALL.map(Self::name))
    }

    fn read(value: &toml::Value) -> Option<Self> {
        Self::ALL.into_iter().find(|conduct| value.as_str() == Some(conduct.name()))
    }
}

/// How hosts are connected.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Out.
    pub up: Rate,
    /// In.
    pub down: Rate,
    /// To the middle of the network; each host draws its own.
    pub latency: RangeInclusive<Duration>,
    /// Most that is added to each message's delay at random.
    pub jitter: Duration,
    /// The part of all messages that come late.
    pub loss: f64,
}

impl Access {
    fn read(class: &mut Section) -> Result<Self, ScenarioError> {
        let nowhere = || Times(Duration::ZERO..=Duration::ZERO);
        let Some(mut section) = class.section("link")? else {
            return Ok(Self {
                up: Rate::Unlimited,
                down: Rate::Unlimited,
                latency: nowhere().0,
                jitter: Duration::ZERO,
                loss: 0.0,
            });
        };
        let access = Self {
            up: section.or("up", Rate::Unlimited)?,
            down: section.or("down", Rate::Unlimited)?,
            latency: section.or("latency", nowhere())?.0,
            jitter: section.or("jitter", Duration::ZERO)?,
            loss: section.or("loss", Share(0.0))?.0,
        };
        section.finish()?;
        Ok(access)
    }
}

/// Pauses of somebody who watches.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Pauses {
    /// From one to the next.
    pub mean_gap: Duration,
    /// How long they are.
    pub mean_length: Duration,
}

/// Hosts of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// What they are called.
    pub name: String,
    /// How many there are.
    pub count: usize,
    /// What they want.
    pub role: Role,
    /// How they are connected.
    pub access: Access,
    /// The engine's own limit.
    pub upload_limit: Rate,
    /// The part of them that nobody can call.
    pub nat: f64,
    /// What their engines follow; `None`: the default, which comparisons replace.
    pub policy: Option<Policy>,
    /// How they keep to the rules.
    pub conduct: Conduct,
    /// When they come.
    pub arrival: Arrival,
    /// How long they stay.
    pub stay: Stay,
    /// From one seek to the next.
    pub seeks: Option<Duration>,
    /// Their pauses.
    pub pauses: Option<Pauses>,
    /// When they are gone, since the world began.
    pub leave: Option<Duration>,
}

impl Class {
    pub(super) fn read(mut section: Section) -> Result<Self, ScenarioError> {
        let class = Self {
            name: section.require::<Name>("name")?.0,
            count: section.or("count", Whole::<0, MAX_HOSTS>(1))?.0 as usize,
            role: section.require("role")?,
            access: Access::read(&mut section)?,
            upload_limit: section.or("upload-limit", Rate::Unlimited)?,
            nat: section.or("nat", Share(0.0))?.0,
            policy: section.take("policy")?,
            conduct: section.or("behaviour", Conduct::default())?,
            arrival: Arrival::read(&mut section)?,
            stay: Stay::read(&mut section)?,
            seeks: section.take::<Span>("seeks")?.map(|gap| gap.0),
            pauses: pauses(&mut section)?,
            leave: section.take("leave")?,
        };
        section.finish()?;
        Ok(class)
    }

    /// What its engines follow, when this is put in place of the default.
    pub fn policy(&self, instead: Policy) -> Policy {
        self.policy.filter(|policy| *policy != Policy::default()).unwrap_or(instead)
    }

    /// Whether its hosts need what others have.
    pub const fn is_fed(&self) -> bool {
        self.role.is_fed()
    }
}

fn pauses(class: &mut Section) -> Result<Option<Pauses>, ScenarioError> {
    let Some(mut section) = class.section("pauses")? else { return Ok(None) };
    let pauses = Pauses {
        mean_gap: section.require::<Span>("mean-gap")?.0,
        mean_length: section.require::<Span>("mean-length")?.0,
    };
    section.finish()?;
    Ok(Some(pauses))
}

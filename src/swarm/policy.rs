//! Which policy an engine follows in a film's swarm.
//!
//! Everybody runs [`Policy::GiveToGet`]. The others are what other clients do, for the simulator: it puts them beside
//! each other, and lets them meet.

use std::fmt;
use std::str::FromStr;

/// How pieces are chosen and who is served.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// What is played soon in order, the rest rarest first; those who forward well are served first.
    #[default]
    GiveToGet,
    /// A stock client: rarest first, and tit-for-tat (BEP 3).
    RarestFirst,
    /// A stock client in its sequential mode: in order, and tit-for-tat.
    Sequential,
    /// A streaming client of today: in order, and whoever wants something is served.
    SequentialToAll,
}

/// A word that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no policy; there are {names}", names = Policy::names())]
pub struct UnknownPolicy(String);

impl Policy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::GiveToGet, Self::RarestFirst, Self::Sequential, Self::SequentialToAll];

    /// Its name in scenarios and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GiveToGet => "give-to-get",
            Self::RarestFirst => "rarest-first",
            Self::Sequential => "sequential",
            Self::SequentialToAll => "sequential-to-all",
        }
    }

    /// Whether pieces are fetched in order whatever others have.
    pub const fn is_sequential(self) -> bool {
        matches!(self, Self::Sequential | Self::SequentialToAll)
    }

    /// Whether another client than ours behaves so.
    pub const fn is_stock(self) -> bool {
        !matches!(self, Self::GiveToGet)
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let named = Self::ALL.into_iter().find(|policy| policy.name() == name);
        named.ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        let error = "tit-for-tat".parse::<Policy>().unwrap_err().to_string();
        assert_eq!(
            error,
            "'tit-for-tat' is no policy; there are give-to-get, rarest-first, sequential, sequential-to-all"
        );
    }
}

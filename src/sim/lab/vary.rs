//! One scenario with several values of a key: each combination is a case, and all of them are shown together.

use std::str::FromStr;

use super::setting::{NoSetting, Setting};

/// Most cases at once.
pub const MAX_CASES: usize = 100;

/// A key and the values that it is to have, one after the other: `supply=1.1,1.5,2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Vary {
    key: String,
    values: Vec<(String, Setting)>,
}

/// No key with values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVary {
    /// There is no key, or no value.
    #[error("write KEY=VALUE,VALUE, for example supply=1.1,1.5,2")]
    NoValues,
    /// The same value would be run twice.
    #[error("{0} is there twice: name each value once")]
    Twice(String),
}

impl FromStr for Vary {
    type Err = NoVary;

    fn from_str(text: &str) -> Result<Self, NoVary> {
        let (key, values) = text.split_once('=').ok_or(NoVary::NoValues)?;
        let key = key.trim();
        let mut all: Vec<(String, Setting)> = Vec::new();
        for value in values.split(',').map(str::trim) {
            if value.is_empty() {
                return Err(NoVary::NoValues);
            }
            if all.iter().any(|(known, _)| known == value) {
                return Err(NoVary::Twice(value.to_owned()));
            }
            let setting = format!("{key}={value}").parse().map_err(|NoSetting| NoVary::NoValues)?;
            all.push((value.to_owned(), setting));
        }
        Ok(Self { key: key.to_owned(), values: all })
    }
}

/// What is set in one of several cases.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Case {
    /// Keys and values as they were written.
    pub said: Vec<(String, String)>,
    /// The same for the scenario.
    pub settings: Vec<Setting>,
}

/// All combinations, the last key's values changing first; one case with nothing set where nothing varies.
pub fn cases(varied: &[Vary]) -> Vec<Case> {
    let mut cases = vec![Case::default()];
    for Vary { key, values } in varied {
        let more = |case: &Case| {
            let case = case.clone();
            values.iter().map(move |(value, setting)| {
                let mut case = case.clone();
                case.said.push((key.clone(), value.clone()));
                case.settings.push(setting.clone());
                case
            })
        };
        // One more than are allowed tells that there are too many.
        cases = cases.iter().flat_map(more).take(MAX_CASES + 1).collect();
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(varied: &[&str]) -> Vec<String> {
        let varied: Vec<Vary> = varied.iter().map(|text| text.parse().unwrap()).collect();
        let words = |case: Case| {
            let words = case.said.iter().map(|(key, value)| format!("{key}={value}"));
            words.collect::<Vec<_>>().join(" ")
        };
        cases(&varied).into_iter().map(words).collect()
    }

    #[test]
    fn all_combinations_are_cases() {
        assert_eq!(said(&[]), [""]);
        assert_eq!(said(&["supply=1.1, 2"]), ["supply=1.1", "supply=2"]);
        assert_eq!(
            said(&["supply=1.1,2", "max-peers=9,8"]),
            [
                "supply=1.1 max-peers=9",
                "supply=1.1 max-peers=8",
                "supply=2 max-peers=9",
                "supply=2 max-peers=8"
            ]
        );
        let many = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let many = [format!("a={many}"), format!("b={many}")];
        assert_eq!(said(&[&many[0], &many[1]]).len(), MAX_CASES + 1);
    }

    #[test]
    fn keys_without_values_and_values_that_are_there_twice_are_told() {
        for wrong in ["", "supply", "supply=", "supply=1,,2", "=1", "a..b=1"] {
            assert_eq!(wrong.parse::<Vary>(), Err(NoVary::NoValues), "{wrong}");
        }
        assert_eq!("supply=1,2,1".parse::<Vary>(), Err(NoVary::Twice("1".to_owned())));
    }
}

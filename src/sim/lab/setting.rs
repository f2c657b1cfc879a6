//! `key=value`: one value of a scenario, set from outside.

use toml::{Table, Value};

use super::error::ScenarioError;

/// Most bytes of one.
const MAX_LENGTH: usize = 500;

/// One value of a scenario and where it stands: `hosts.viewers.count=50`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    path: Vec<String>,
    value: Value,
}

/// No setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write KEY=VALUE, for example supply=1.5 or hosts.viewers.count=50")]
pub struct NoSetting;

impl std::str::FromStr for Setting {
    type Err = NoSetting;

    fn from_str(text: &str) -> Result<Self, NoSetting> {
        let (path, value) = text.split_once('=').ok_or(NoSetting)?;
        let path: Vec<_> = path.trim().split('.').map(str::to_owned).collect();
        if text.len() > MAX_LENGTH || path.iter().any(String::is_empty) || path.len() > 4 {
            return Err(NoSetting);
        }
        // What is no value of TOML is a text without its quotes.
        let table = format!("value = {value}").parse::<Table>().ok().filter(|table| table.len() == 1);
        let value = table.and_then(|mut table| table.remove("value"));
        let text = || Value::String(text.split_once('=').map_or("", |(_, value)| value).trim().to_owned());
        Ok(Self { path, value: value.unwrap_or_else(text) })
    }
}

impl Setting {
    /// Puts the value in its place.
    pub(super) fn apply(&self, file: &str, table: &mut Table) -> Result<(), ScenarioError> {
        match self.path.as_slice() {
            [list, name, path @ ..] if list == "hosts" && !path.is_empty() => {
                let classes = table.get_mut("hosts").and_then(Value::as_array_mut);
                let classes = classes.map(Vec::as_mut_slice).unwrap_or_default();
                let named = |class: &Value| class.get("name").and_then(Value::as_str).map(str::to_owned);
                let names: Vec<_> = classes.iter().filter_map(named).collect();
                let class = classes.iter_mut().find(|class| named(class).as_ref() == Some(name));
                let class = class.and_then(Value::as_table_mut).ok_or_else(|| ScenarioError::Unknown {
                    file: file.to_owned(),
                    key: format!("hosts.{name}"),
                    allowed: names.join(", "),
                })?;
                self.put(file, class, path)
            }
            path => self.put(file, table, path),
        }
    }

    fn put(&self, file: &str, table: &mut Table, path: &[String]) -> Result<(), ScenarioError> {
        let Some((key, rest)) = path.split_first() else { return Ok(()) };
        if rest.is_empty() {
            table.insert(key.clone(), self.value.clone());
            return Ok(());
        }
        let inner = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
        if let Value::String(kind) = inner {
            *inner = Value::Table(Table::from_iter([("kind".to_owned(), Value::String(kind.clone()))]));
        }
        match inner {
            Value::Table(inner) => self.put(file, inner, rest),
            other => Err(ScenarioError::Wrong {
                file: file.to_owned(),
                key: self.path.join("."),
                value: self.value.to_string(),
                wanted: format!("'{key}' itself: it is {other}, and nothing is inside of it"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, table: &str) -> Result<String, ScenarioError> {
        let mut table: Table = table.parse().unwrap();
        text.parse::<Setting>().unwrap().apply("x", &mut table)?;
        Ok(table.to_string())
    }

    #[test]
    fn values_are_toml_or_text_without_quotes() {
        assert_eq!(set("a=5", "").unwrap(), "a = 5\n");
        assert_eq!(set("a=5 Mbit/s", "").unwrap(), "a = \"5 Mbit/s\"\n");
        assert_eq!(set("a=0.5", "a = 1").unwrap(), "a = 0.5\n");
        assert_eq!("a=1\nb=2".parse::<Setting>().unwrap().value, Value::String("1\nb=2".to_owned()));
        for wrong in ["", "a", "=5", ".a=5", "a..b=5"] {
            assert_eq!(wrong.parse::<Setting>(), Err(NoSetting), "{wrong}");
        }
    }

    #[test]
    fn hosts_are_found_by_their_name() {
        let table = "[[hosts]]\nname = \"seeds\"\n\n[[hosts]]\nname = \"viewers\"\narrival = \"at once\"\n";
        assert!(set("hosts.viewers.count=50", table).unwrap().contains("\"at once\"\ncount = 50"));
        let inner = set("hosts.viewers.arrival.spread=1s", table).unwrap();
        assert!(inner.contains("kind = \"at once\"\nspread = \"1s\""), "{inner}");
        let error = set("hosts.viewer.count=50", table).unwrap_err().to_string();
        assert_eq!(error, "x: there is no key hosts.viewer; allowed are seeds, viewers");
    }
}

//! One table of a scenario file, read key by key.
//!
//! Invariant: whoever has [`finish`](Section::finish)ed a section has looked at every key that stands in it; so a
//! key with a slip of the pen is never passed over. Errors carry the whole path, as `--set` has it.

use toml::{Table, Value};

use super::error::ScenarioError;

/// A type that values of scenarios are read as.
pub(super) trait Field: Sized {
    /// What may stand there, to go behind "write".
    fn wanted() -> String;

    /// The value, if it means one.
    fn read(value: &Value) -> Option<Self>;
}

/// A table and where it stands.
#[derive(Debug)]
pub(super) struct Section {
    file: String,
    path: String,
    table: Table,
    asked: Vec<&'static str>,
}

impl Section {
    /// The whole of a file.
    pub(super) fn new(file: &str, table: Table) -> Self {
        Self { file: file.to_owned(), path: String::new(), table, asked: Vec::new() }
    }

    /// The value of a key, if it is there.
    pub(super) fn take<T: Field>(&mut self, key: &'static str) -> Result<Option<T>, ScenarioError> {
        self.asked.push(key);
        let Some(value) = self.table.remove(key) else { return Ok(None) };
        T::read(&value).map(Some).ok_or_else(|| self.wrong(key, &value, T::wanted()))
    }

    /// The value of a key that has to be there.
    pub(super) fn require<T: Field>(&mut self, key: &'static str) -> Result<T, ScenarioError> {
        self.take(key)?.ok_or_else(|| self.missing(key, T::wanted()))
    }

    /// The value of a key, or this.
    pub(super) fn or<T: Field>(&mut self, key: &'static str, default: T) -> Result<T, ScenarioError> {
        Ok(self.take(key)?.unwrap_or(default))
    }

    /// The table of a key, if it is there; `key = "word"` is the table that has `kind = "word"` alone.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Option<Self>, ScenarioError> {
        self.asked.push(key);
        let table = match self.table.remove(key) {
            None => return Ok(None),
            Some(Value::Table(table)) => table,
            Some(Value::String(kind)) => Table::from_iter([("kind".to_owned(), Value::String(kind))]),
            Some(other) => return Err(self.wrong(key, &other, "a table: { ... }".to_owned())),
        };
        Ok(Some(self.inner(self.path_of(key), table)))
    }

    /// The tables of a list, with their names, by which they are called in errors.
    pub(super) fn sections(&mut self, key: &'static str) -> Result<Vec<Self>, ScenarioError> {
        self.asked.push(key);
        let wanted = || format!("[[{key}]] above each of them");
        let list = match self.table.remove(key) {
            Some(Value::Array(list)) if !list.is_empty() => list,
            Some(other) => return Err(self.wrong(key, &other, wanted())),
            None => return Err(self.missing(key, wanted())),
        };
        let path = self.path_of(key);
        let inner = |(n, value): (usize, Value)| match value {
            Value::Table(table) => {
                let name =
                    table.get("name").and_then(Value::as_str).map_or_else(|| n.to_string(), str::to_owned);
                Ok(self.inner(format!("{path}.{name}"), table))
            }
            other => Err(self.wrong(key, &other, wanted())),
        };
        list.into_iter().enumerate().map(inner).collect()
    }

    /// Everything is read: what is left are keys that mean nothing.
    pub(super) fn finish(self) -> Result<(), ScenarioError> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        Err(ScenarioError::Unknown {
            file: self.file.clone(),
            key: self.path_of(key),
            allowed: self.asked.join(", "),
        })
    }

    /// This value is not what it should be.
    pub(super) fn wrong(&self, key: &str, value: &Value, wanted: String) -> ScenarioError {
        let mut value = value.to_string();
        if let Some((cut, _)) = value.char_indices().nth(80) {
            value.truncate(cut);
            value.push('…');
        }
        ScenarioError::Wrong { file: self.file.clone(), key: self.path_of(key), value, wanted }
    }

    /// Values that do not go together.
    pub(super) fn whole(&self, what: String) -> ScenarioError {
        ScenarioError::Whole { file: self.file.clone(), what }
    }

    fn missing(&self, key: &str, wanted: String) -> ScenarioError {
        ScenarioError::Missing { file: self.file.clone(), key: self.path_of(key), wanted }
    }

    fn inner(&self, path: String, table: Table) -> Self {
        Self { file: self.file.clone(), path, table, asked: Vec::new() }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

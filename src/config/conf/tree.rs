//! The tree that a configuration is parsed to. Knows nothing of the text but places in it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Where something was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named: on the command line, or by `include` and relative to the including one.
    pub file: Arc<str>,
    pub line: usize,
    /// Bytes from the start of the line as nats-server counts: from 0 in the first line and from 1 in all others.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A value and where it is: the place of its key, or in an array its own.
#[derive(Clone)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// `2006-01-02T15:04:05Z`, checked.
    DateTime(String),
    Array(Vec<Node>),
    Map(Map),
}

impl Value {
    /// What a person calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a boolean",
            Value::DateTime(_) => "a time",
            Value::Array(_) => "an array",
            Value::Map(_) => "a map",
        }
    }

    /// About how much memory a copy takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Entry>()
            + match self {
                Value::Array(nodes) => nodes.iter().map(|node| node.value.bytes()).sum(),
                Value::Map(map) => {
                    let bytes = |entry: &Entry| 2 * entry.key.len() + entry.node.value.bytes();
                    map.entries.iter().map(bytes).sum()
                }
                Value::Text(text) | Value::DateTime(text) => text.len(),
                Value::Integer(_) | Value::Float(_) | Value::Bool(_) => 0,
            }
    }
}

/// Only the kind: values may be secret.
impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} at {}", self.value, self.place)
    }
}

/// One key of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub node: Node,
    /// A `$reference` named it, so it may be a key that means nothing by itself.
    pub is_variable: bool,
}

/// Keys and values in the order in which they were written; of a key that is written twice the last.
#[derive(Clone, Debug, Default)]
pub struct Map {
    entries: Vec<Entry>,
    by_key: HashMap<String, usize>,
}

impl Map {
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of exactly this key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.by_key.get(key).map(|at| &self.entries[*at].node)
    }

    /// The entry of a variable, which it is from now on.
    pub(super) fn refer_to(&mut self, key: &str) -> Option<&Node> {
        let entry = &mut self.entries[*self.by_key.get(key)?];
        entry.is_variable = true;
        Some(&entry.node)
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        match self.by_key.get(&entry.key) {
            Some(at) => self.entries[*at] = entry,
            None => {
                self.by_key.insert(entry.key.clone(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

//! Typed access to the tree, and the list of what is wrong with it. Knows no key by name.

use std::path::Path;

use crate::config::conf::{Entry, Map, Node, Place, Surroundings, Value, parse_duration};

/// Collects what is said about a configuration while it is read.
pub struct Reader<'s> {
    pub surroundings: &'s dyn Surroundings,
    pub errors: Vec<String>,
    /// The server starts in spite of these.
    pub warnings: Vec<String>,
    /// Keys of parts that are not built yet. They are reported last: they are no mistakes.
    pub later: Vec<String>,
}

impl<'s> Reader<'s> {
    pub fn new(surroundings: &'s dyn Surroundings) -> Reader<'s> {
        Reader {
            surroundings,
            errors: Vec::new(),
            warnings: Vec::new(),
            later: Vec::new(),
        }
    }

    pub fn error(&mut self, place: &Place, text: impl AsRef<str>) {
        self.errors.push(format!("{place}: {}", text.as_ref()));
    }

    /// A warning about a key, in nats-server's form.
    pub fn warn(&mut self, key: &str, place: &Place, text: impl AsRef<str>) {
        let text = text.as_ref();
        self.warnings
            .push(format!("{place}: invalid use of field {key:?}: {text}"));
    }

    pub fn not_supported_yet(&mut self, key: &str, place: &Place) {
        self.later
            .push(format!("not supported yet: {key} ({place})"));
    }

    /// A key that means nothing: a mistake, unless it is there for others to refer to.
    pub fn unknown(&mut self, entry: &Entry) {
        self.unknown_saying(entry, format!("unknown field {:?}", entry.key));
    }

    pub fn unknown_saying(&mut self, entry: &Entry, text: impl AsRef<str>) {
        if !entry.is_variable {
            self.error(&entry.node.place, text);
        }
    }

    fn wrong_type(&mut self, key: &str, node: &Node, expected: &str) {
        let found = node.value.kind();
        self.error(
            &node.place,
            format!("{key}: expected {expected}, got {found}"),
        );
    }

    pub fn text<'n>(&mut self, key: &str, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.wrong_type(key, node, "a string");
                None
            }
        }
    }

    /// Text of which an empty one counts as not given.
    pub fn text_given(&mut self, key: &str, node: &Node) -> Option<String> {
        self.text(key, node)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }

    pub fn boolean(&mut self, key: &str, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Bool(on) => Some(*on),
            _ => {
                self.wrong_type(key, node, "a boolean");
                None
            }
        }
    }

    pub fn integer(&mut self, key: &str, node: &Node) -> Option<i64> {
        match &node.value {
            Value::Integer(number) => Some(*number),
            _ => {
                self.wrong_type(key, node, "an integer");
                None
            }
        }
    }

    /// An integer that fits; where too large a number is no limit at all, it says so in nats-server's words.
    pub fn number<T: TryFrom<i64>>(&mut self, key: &str, node: &Node) -> Option<T> {
        let number = self.integer(key, node)?;
        let fitting = T::try_from(number).ok();
        if fitting.is_none() {
            let what = match number {
                ..0 => "can not be negative",
                0.. => "is too big",
            };
            self.error(&node.place, format!("{key} value {what}"));
        }
        fitting
    }

    pub fn map<'n>(&mut self, key: &str, node: &'n Node) -> Option<&'n Map> {
        match &node.value {
            Value::Map(map) => Some(map),
            _ => {
                self.wrong_type(key, node, "a map");
                None
            }
        }
    }

    pub fn array<'n>(&mut self, key: &str, node: &'n Node) -> Option<&'n [Node]> {
        match &node.value {
            Value::Array(nodes) => Some(nodes),
            _ => {
                self.wrong_type(key, node, "an array");
                None
            }
        }
    }

    /// Strings of an array; what is none is reported and left out.
    pub fn texts(&mut self, key: &str, node: &Node) -> Option<Vec<String>> {
        let nodes = self.array(key, node)?;
        let texts = nodes.iter().filter_map(|node| self.text(key, node));
        Some(texts.map(str::to_owned).collect())
    }

    /// One string, or an array of them.
    pub fn text_or_texts(&mut self, key: &str, node: &Node) -> Option<Vec<String>> {
        match &node.value {
            Value::Text(text) => Some(vec![text.clone()]),
            Value::Array(_) => self.texts(key, node),
            _ => {
                self.wrong_type(key, node, "a string or an array of strings");
                None
            }
        }
    }

    /// Nanoseconds of a duration; a bare number is seconds, which is an old form.
    pub fn duration_ns(&mut self, key: &str, node: &Node) -> Option<i64> {
        match &node.value {
            Value::Integer(seconds) => {
                self.warn(
                    key,
                    &node.place,
                    format!("{key} should be converted to a duration"),
                );
                let ns = seconds.checked_mul(1_000_000_000);
                if ns.is_none() {
                    self.error(&node.place, format!("{key} value is too big"));
                }
                ns
            }
            Value::Text(_) => self.duration_text_ns(key, node),
            _ => {
                self.wrong_type(key, node, "a duration");
                None
            }
        }
    }

    /// Nanoseconds of a duration that must be a string.
    pub fn duration_text_ns(&mut self, key: &str, node: &Node) -> Option<i64> {
        let text = self.text(key, node)?;
        match parse_duration(text) {
            Ok(ns) => Some(ns),
            Err(error) => {
                self.error(&node.place, format!("error parsing {key}: {error}"));
                None
            }
        }
    }

    /// Milliseconds of a duration, at least one where it is not 0.
    pub fn duration_ms(&mut self, key: &str, node: &Node) -> Option<u64> {
        let ns = self.duration_ns(key, node)?;
        self.not_negative_ms(key, node, ns)
    }

    pub fn not_negative_ms(&mut self, key: &str, node: &Node, ns: i64) -> Option<u64> {
        match u64::try_from(ns) {
            Ok(ns) => Some(ns.div_ceil(1_000_000)),
            Err(_) => {
                self.error(&node.place, format!("{key} value can not be negative"));
                None
            }
        }
    }

    /// Milliseconds of a timeout: seconds, whole or not, or a duration.
    pub fn timeout_ms(&mut self, key: &str, what: &str, node: &Node) -> Option<u64> {
        let seconds = match &node.value {
            Value::Integer(seconds) => *seconds as f64,
            Value::Float(seconds) => *seconds,
            Value::Text(text) => match parse_duration(text) {
                Ok(ns) => ns as f64 / 1e9,
                Err(error) => {
                    self.error(
                        &node.place,
                        format!("error parsing {what} config, '{key}' {error}"),
                    );
                    return None;
                }
            },
            _ => {
                self.error(
                    &node.place,
                    format!("error parsing {what} config, '{key}' wrong type"),
                );
                return None;
            }
        };
        if seconds < 0.0 {
            self.error(&node.place, format!("{key} value can not be negative"));
            return None;
        }
        // A conversion of a float that is too large gives the largest integer.
        Some((seconds * 1000.0).ceil() as u64)
    }

    /// Whether a file can be read; what it says is somebody else's.
    pub fn check_file(&mut self, place: &Place, path: &str, before: &str) {
        if let Err(error) = self.surroundings.read(Path::new(path)) {
            self.error(place, format!("{before}{error}"));
        }
    }
}

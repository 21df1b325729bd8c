//! The grammar: text → [`Map`], with references and includes followed.
//!
//! Knows no key. Maps and arrays are on a stack of its own, so that nesting costs no call stack; includes and
//! variables from the environment are calls, [`INCLUDE_DEPTH_MAX`] deep at most.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::scalar::{self, Scalar};
use super::scanner::{END, Mark, Scanner, is_blank, is_newline, is_separator};
use super::tree::{Entry, Map, Node, Place, Value};
use super::{
    DEPTH_MAX, INCLUDE_DEPTH_MAX, ParseError, REFERENCE_BYTES_MAX, SOURCE_BYTES_MAX, SOURCES_MAX,
};

/// What a configuration may ask for beside its own text.
pub trait Surroundings {
    /// The content of a file.
    ///
    /// # Errors
    /// It cannot be read; the text says why and names it.
    fn read(&self, path: &Path) -> Result<Vec<u8>, String>;

    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
}

/// Reads a file and all that it includes.
///
/// # Errors
/// A file cannot be read, or is not written in this language.
pub fn parse(path: &Path, surroundings: &dyn Surroundings) -> Result<Map, ParseError> {
    let mut shared = Shared {
        surroundings,
        sources: 0,
        source_bytes: 0,
        reference_bytes: 0,
        variables: Vec::new(),
    };
    parse_file(path, &mut shared, 0)
}

/// Strings that start like this are bcrypt hashes and no references.
const BCRYPT_PREFIX: &str = "2a$";
/// The key under which the value of an environment variable is parsed.
const VARIABLE_KEY: &str = "value";

/// What all files of one configuration have in common.
struct Shared<'s> {
    surroundings: &'s dyn Surroundings,
    sources: usize,
    source_bytes: usize,
    reference_bytes: usize,
    /// Environment variables whose values are being parsed.
    variables: Vec<String>,
}

impl Shared<'_> {
    fn count_source(&mut self, bytes: usize) -> Result<(), ParseError> {
        self.sources += 1;
        self.source_bytes = self.source_bytes.saturating_add(bytes);
        if self.sources > SOURCES_MAX || self.source_bytes > SOURCE_BYTES_MAX {
            return Err(ParseError("configuration is too large".to_owned()));
        }
        Ok(())
    }
}

fn parse_file(path: &Path, shared: &mut Shared<'_>, depth: usize) -> Result<Map, ParseError> {
    if depth > INCLUDE_DEPTH_MAX {
        return Err(ParseError(format!(
            "files include each other more than {INCLUDE_DEPTH_MAX} deep"
        )));
    }
    let bytes = shared.surroundings.read(path).map_err(ParseError)?;
    shared.count_source(bytes.len())?;
    let file = path.to_string_lossy();
    let text = String::from_utf8(bytes)
        .map_err(|_| ParseError(format!("{file}: the file is not UTF-8")))?;
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    Parser::new(&text, file.as_ref().into(), directory, shared, depth).run()
}

/// One map or array that is not finished.
enum Frame {
    Map {
        map: Map,
        /// The key whose value comes next.
        key: Option<(String, Mark)>,
    },
    Array(Vec<Node>),
}

/// What comes next.
enum State {
    /// A key, outside of all braces.
    Top,
    TopValueEnd,
    /// A key, in braces around the whole text.
    Block,
    BlockValueEnd,
    /// After the end of a block in a block.
    BlockEnd,
    MapKey,
    MapValueEnd,
    ArrayValue,
    ArrayValueEnd,
    End,
}

enum Key {
    Name(String, Mark),
    Include(String),
}

struct Parser<'t, 's, 'p> {
    scanner: Scanner<'t>,
    frames: Vec<Frame>,
    /// Braces around the whole text that are open.
    blocks: usize,
    file: Arc<str>,
    directory: PathBuf,
    shared: &'p mut Shared<'s>,
    depth: usize,
}

impl<'t, 's, 'p> Parser<'t, 's, 'p> {
    fn new(
        text: &'t str,
        file: Arc<str>,
        directory: PathBuf,
        shared: &'p mut Shared<'s>,
        depth: usize,
    ) -> Self {
        Parser {
            scanner: Scanner::new(text),
            frames: vec![Frame::Map {
                map: Map::default(),
                key: None,
            }],
            blocks: 0,
            file,
            directory,
            shared,
            depth,
        }
    }

    fn run(mut self) -> Result<Map, ParseError> {
        let mut state = State::Top;
        loop {
            state = match state {
                State::Top => self.top()?,
                State::TopValueEnd => self.top_value_end()?,
                State::Block => self.block()?,
                State::BlockValueEnd => self.block_value_end()?,
                State::BlockEnd => self.block_end()?,
                State::MapKey => self.map_key()?,
                State::MapValueEnd => self.map_value_end()?,
                State::ArrayValue => self.array_value()?,
                State::ArrayValueEnd => self.array_value_end()?,
                State::End => break,
            };
        }
        match self.frames.into_iter().next() {
            Some(Frame::Map { map, .. }) => Ok(map),
            Some(Frame::Array(_)) | None => unreachable!("the first frame is a map"),
        }
    }

    fn error(&self, text: &str) -> ParseError {
        ParseError(format!(
            "Parse error on line {}: '{text}'",
            self.scanner.line()
        ))
    }

    fn place(&self, mark: Mark) -> Place {
        Place {
            file: self.file.clone(),
            line: mark.line,
            column: mark.column,
        }
    }

    fn top(&mut self) -> Result<State, ParseError> {
        self.scanner.skip_while(char::is_whitespace);
        if self.scanner.is_at_comment() {
            self.scanner.skip_comment();
            return Ok(State::Top);
        }
        match self.scanner.peek() {
            '{' => {
                self.scanner.next();
                self.blocks = 1;
                Ok(State::Block)
            }
            END if self.scanner.is_at_end() => Ok(State::End),
            '/' | END => Err(self.error("Unexpected EOF.")),
            _ => self.top_entry(),
        }
    }

    fn top_value_end(&mut self) -> Result<State, ParseError> {
        if self.scanner.is_at_comment() {
            self.scanner.skip_comment();
            return Ok(State::Top);
        }
        match self.scanner.next() {
            ' ' | '\t' | '/' => Ok(State::TopValueEnd),
            '\n' | '\r' | END | ';' | ',' | '}' => Ok(State::Top),
            other => Err(self.error(&format!(
                "Expected a top-level value to end with a new line, comment or EOF, but got '{other}' instead."
            ))),
        }
    }

    fn block(&mut self) -> Result<State, ParseError> {
        self.scanner.skip_while(char::is_whitespace);
        if self.scanner.is_at_comment() {
            self.scanner.skip_comment();
            return Ok(State::Block);
        }
        match self.scanner.peek() {
            '{' => {
                self.scanner.next();
                self.blocks += 1;
                Ok(State::Block)
            }
            '}' => {
                self.scanner.next();
                Ok(self.leave_block())
            }
            END if self.scanner.is_at_end() => Ok(State::End),
            '/' | END => Err(self.error("Unexpected EOF.")),
            _ => self.top_entry(),
        }
    }

    fn block_value_end(&mut self) -> Result<State, ParseError> {
        if self.scanner.is_at_comment() {
            self.scanner.skip_comment();
            return Ok(State::BlockValueEnd);
        }
        match self.scanner.next() {
            ' ' | '\t' | '/' => Ok(State::BlockValueEnd),
            '\n' | '\r' | ';' | ',' => Ok(State::Block),
            '}' => Ok(self.leave_block()),
            other => Err(self.error(&format!(
                "Expected a block-level value to end with a new line, comment or EOF, but got '{}' instead.",
                shown(other)
            ))),
        }
    }

    fn block_end(&mut self) -> Result<State, ParseError> {
        if self.scanner.is_at_comment() {
            self.scanner.skip_comment();
            return Ok(State::Block);
        }
        match self.scanner.next() {
            ' ' | '\t' | '\n' | '\r' | '/' => Ok(State::BlockEnd),
            ';' | ',' => Ok(State::Block),
            '}' => Ok(self.leave_block()),
            other => Err(self.error(&format!(
                "Expected a block-level to end with a '}}', but got '{other}' instead."
            ))),
        }
    }

    fn leave_block(&mut self) -> State {
        self.blocks -= 1;
        match self.blocks {
            0 => State::Top,
            _ => State::BlockEnd,
        }
    }

    /// A key and the start of its value, outside of maps.
    fn top_entry(&mut self) -> Result<State, ParseError> {
        let (name, mark) = match self.key(false)? {
            Key::Include(path) => return self.include(&path),
            Key::Name(name, mark) => (name, mark),
        };
        self.scanner.skip_while(char::is_whitespace);
        if is_separator(self.scanner.peek()) {
            self.scanner.next();
        } else if self.scanner.peek() == END {
            // A closing brace too many at the very end is let pass.
            return match name.as_str() {
                "}" => Ok(State::End),
                _ => Err(ParseError(format!(
                    "config is invalid ({})",
                    self.place(self.scanner.mark())
                ))),
            };
        }
        self.expect_value_of(name, mark);
        self.value()
    }

    fn map_key(&mut self) -> Result<State, ParseError> {
        self.scanner.skip_while(char::is_whitespace);
        if self.scanner.is_at_comment() {
            self.scanner.skip_comment();
            return Ok(State::MapKey);
        }
        match self.scanner.peek() {
            ']' => return Err(self.error("Unexpected array end ']' processing map.")),
            '}' => {
                self.scanner.next();
                return Ok(self.leave_frame());
            }
            '/' => {
                self.scanner.next();
            }
            END => return Err(self.error("Unexpected EOF processing map.")),
            _ => {}
        }
        let (name, mark) = match self.key(true)? {
            Key::Include(path) => return self.include(&path),
            Key::Name(name, mark) => (name, mark),
        };
        self.scanner.skip_while(char::is_whitespace);
        if is_separator(self.scanner.peek()) {
            self.scanner.next();
            self.scanner.skip_while(char::is_whitespace);
        }
        match self.scanner.peek() {
            ',' => Err(self.error("Unexpected map value terminator ','.")),
            '}' => Err(self.error(&format!("Expected a value for key '{name}'"))),
            _ => {
                self.expect_value_of(name, mark);
                self.value()
            }
        }
    }

    fn map_value_end(&mut self) -> Result<State, ParseError> {
        self.scanner.skip_while(is_blank);
        if self.scanner.is_at_comment() {
            self.scanner.skip_comment();
            return Ok(State::MapValueEnd);
        }
        match self.scanner.next() {
            ';' | ',' | '\n' | '\r' | '/' => Ok(State::MapKey),
            '}' => Ok(self.leave_frame()),
            other => Err(self.error(&format!(
                "Expected a map value terminator \",\" or a map terminator \"}}\", but got '{other}' instead."
            ))),
        }
    }

    fn array_value(&mut self) -> Result<State, ParseError> {
        self.scanner.skip_while(char::is_whitespace);
        if self.scanner.is_at_comment() {
            self.scanner.skip_comment();
            return Ok(State::ArrayValue);
        }
        match self.scanner.peek() {
            ',' | '/' => Err(self.error("Unexpected array value terminator ','.")),
            ']' => {
                self.scanner.next();
                Ok(self.leave_frame())
            }
            _ => self.value(),
        }
    }

    fn array_value_end(&mut self) -> Result<State, ParseError> {
        self.scanner.skip_while(is_blank);
        if self.scanner.is_at_comment() {
            self.scanner.skip_comment();
            return Ok(State::ArrayValueEnd);
        }
        match self.scanner.next() {
            ',' | '\n' | '\r' | '/' => Ok(State::ArrayValue),
            ']' => Ok(self.leave_frame()),
            other => Err(self.error(&format!(
                "Expected an array value terminator \",\" or an array terminator \"]\", but got '{other}' instead."
            ))),
        }
    }

    /// The key that starts here, up to what separates it from its value.
    fn key(&mut self, in_map: bool) -> Result<Key, ParseError> {
        let first = self.scanner.peek();
        if is_separator(first) {
            let end = if in_map { "." } else { "" };
            return Err(self.error(&format!("Unexpected key separator '{first}'{end}")));
        }
        if first == '"' || first == '\'' {
            self.scanner.next();
            return self.quoted_key(first, in_map);
        }
        let (start, mark) = (self.scanner.at(), self.scanner.mark());
        self.scanner.next();
        loop {
            let next = self.scanner.peek();
            if next == END && in_map {
                return Err(self.error("Unexpected EOF processing map key."));
            }
            if next.is_whitespace() && self.scanner.since(start).eq_ignore_ascii_case("include") {
                return self.include_path().map(Key::Include);
            }
            if next.is_whitespace() || is_separator(next) || next == END {
                return Ok(Key::Name(self.scanner.since(start).to_owned(), mark));
            }
            self.scanner.next();
        }
    }

    fn quoted_key(&mut self, quote: char, in_map: bool) -> Result<Key, ParseError> {
        let (start, mark) = (self.scanner.at(), self.scanner.mark());
        self.scanner.skip_while(|next| next != quote && next != END);
        if self.scanner.peek() == END {
            return Err(self.error(match (in_map, quote) {
                (false, _) => "Unexpected EOF.",
                (true, '"') => "Unexpected EOF processing double quoted map key.",
                (true, _) => "Unexpected EOF processing quoted map key.",
            }));
        }
        let name = self.scanner.since(start).to_owned();
        self.scanner.next();
        Ok(Key::Name(name, mark))
    }

    fn include_path(&mut self) -> Result<String, ParseError> {
        self.scanner.skip_while(is_blank);
        let first = self.scanner.peek();
        let expected = |what: &str| format!("Expected include value but found {what}");
        let found = match first {
            '\'' | '"' => {
                self.scanner.next();
                let start = self.scanner.at();
                self.scanner.skip_while(|next| next != first && next != END);
                if self.scanner.peek() == END {
                    return Err(self.error(match first {
                        '"' => "Unexpected EOF in double quoted include",
                        _ => "Unexpected EOF in quoted include",
                    }));
                }
                let path = self.scanner.since(start).to_owned();
                self.scanner.next();
                return Ok(path);
            }
            '[' => "start of an array",
            '{' => "start of a map",
            '(' => "start of a block",
            '-' | '0'..='9' => "start of a number",
            '\\' => "escape sequence",
            '\n' | '\r' => "new line",
            _ => {
                let start = self.scanner.at();
                let ends = |next: char| {
                    is_newline(next) || is_blank(next) || [END, ';', '}', '\''].contains(&next)
                };
                self.scanner.skip_while(|next| !ends(next));
                let path = self.scanner.since(start).to_owned();
                if self.scanner.peek() == '\'' {
                    self.scanner.next();
                }
                return Ok(path);
            }
        };
        self.scanner.next();
        Err(self.error(&expected(found)))
    }

    fn expect_value_of(&mut self, name: String, mark: Mark) {
        if let Some(Frame::Map { key, .. }) = self.frames.last_mut() {
            *key = Some((name, mark));
        }
    }

    /// A value, or the start of a map or an array.
    fn value(&mut self) -> Result<State, ParseError> {
        self.scanner.skip_while(is_blank);
        let opened = match self.scanner.peek() {
            '[' => Some((Frame::Array(Vec::new()), State::ArrayValue)),
            '{' => {
                let (map, key) = (Map::default(), None);
                Some((Frame::Map { map, key }, State::MapKey))
            }
            _ => None,
        };
        if let Some((frame, state)) = opened {
            self.scanner.next();
            if self.frames.len() > DEPTH_MAX {
                return Err(self.error(&format!(
                    "More than {DEPTH_MAX} maps and arrays in each other"
                )));
            }
            self.frames.push(frame);
            return Ok(state);
        }
        let mut mark = self.scanner.mark();
        let value = match scalar::read(&mut self.scanner)? {
            Scalar::Quoted(value) => {
                mark.column += 1;
                value
            }
            Scalar::Plain(value) => value,
            Scalar::Reference(name) => {
                mark.column += 1;
                self.refer_to(&name, mark)?
            }
        };
        Ok(self.set(value, mark))
    }

    fn leave_frame(&mut self) -> State {
        let value = match self.frames.pop() {
            Some(Frame::Map { map, .. }) => Value::Map(map),
            Some(Frame::Array(nodes)) => Value::Array(nodes),
            None => unreachable!("only a frame that was entered is left"),
        };
        let mark = self.scanner.mark();
        self.set(value, mark)
    }

    /// Puts a finished value where it belongs.
    fn set(&mut self, value: Value, mark: Mark) -> State {
        let file = self.file.clone();
        let place = |Mark { line, column }| Place { file, line, column };
        match self.frames.last_mut() {
            Some(Frame::Array(nodes)) => nodes.push(Node {
                place: place(mark),
                value,
            }),
            Some(Frame::Map { map, key }) => {
                if let Some((key, mark)) = key.take() {
                    map.insert(Entry {
                        key,
                        node: Node {
                            place: place(mark),
                            value,
                        },
                        is_variable: false,
                    });
                }
            }
            None => {}
        }
        self.after_value()
    }

    fn after_value(&self) -> State {
        match self.frames.last() {
            Some(Frame::Array(_)) => State::ArrayValueEnd,
            _ if self.frames.len() > 1 => State::MapValueEnd,
            _ if self.blocks > 0 => State::BlockValueEnd,
            _ => State::TopValueEnd,
        }
    }

    /// The value of a variable: of the innermost map around that has this key, or of the environment.
    fn refer_to(&mut self, name: &str, mark: Mark) -> Result<Value, ParseError> {
        if name.starts_with(BCRYPT_PREFIX) {
            return Ok(Value::Text(format!("${name}")));
        }
        for frame in self.frames.iter_mut().rev() {
            let Frame::Map { map, .. } = frame else {
                continue;
            };
            if let Some(node) = map.refer_to(name) {
                let bytes = node.value.bytes();
                self.shared.reference_bytes = self.shared.reference_bytes.saturating_add(bytes);
                if self.shared.reference_bytes > REFERENCE_BYTES_MAX {
                    return Err(self.error("References to variables are too large"));
                }
                return Ok(node.value.clone());
            }
        }
        let line = mark.line;
        let wrong = |why: String| {
            ParseError(format!(
                "variable reference for '{name}' on line {line} could not be parsed: {why}"
            ))
        };
        if self.shared.variables.iter().any(|known| known == name) {
            return Err(wrong(format!("variable reference cycle for '{name}'")));
        }
        let Some(text) = self.shared.surroundings.variable(name) else {
            return Err(ParseError(format!(
                "variable reference for '{name}' on line {line} can not be found"
            )));
        };
        if self.depth >= INCLUDE_DEPTH_MAX {
            return Err(wrong(format!(
                "variables refer to each other more than {INCLUDE_DEPTH_MAX} deep"
            )));
        }
        self.shared.count_source(text.len())?;
        self.shared.variables.push(name.to_owned());
        let text = format!("{VARIABLE_KEY}={text}");
        let file = format!("${name}").into();
        let parsed = Parser::new(&text, file, PathBuf::new(), self.shared, self.depth + 1).run();
        self.shared.variables.pop();
        let map = parsed.map_err(|error| wrong(error.0))?;
        let found = map.into_entries().into_iter();
        found
            .filter(|entry| entry.key == VARIABLE_KEY)
            .map(|entry| entry.node.value)
            .next()
            .ok_or_else(|| wrong("it has no value".to_owned()))
    }

    /// Puts the keys of another file into the map that is being read.
    fn include(&mut self, named: &str) -> Result<State, ParseError> {
        let path = join(&self.directory, named);
        let included = parse_file(&path, self.shared, self.depth + 1).map_err(|error| {
            ParseError(format!("error parsing include file '{named}', {error}"))
        })?;
        if let Some(Frame::Map { map, .. }) = self.frames.last_mut() {
            for entry in included.into_entries() {
                map.insert(entry);
            }
        }
        Ok(self.after_value())
    }
}

/// A path below a directory with `.` and `..` worked out as text; an absolute one counts as below it too, all as in
/// nats-server.
fn join(directory: &Path, named: &str) -> PathBuf {
    use std::path::Component;
    let mut joined = PathBuf::new();
    let components = directory.components().chain(Path::new(named).components());
    for (number, component) in components.enumerate() {
        match component {
            Component::RootDir if number > 0 || !directory.has_root() => {}
            Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir
                if matches!(joined.components().next_back(), Some(Component::Normal(_))) =>
            {
                joined.pop();
            }
            Component::ParentDir if joined.has_root() => {}
            Component::ParentDir | Component::RootDir | Component::Normal(_) => {
                joined.push(component);
            }
        }
    }
    joined
}

/// A character as errors show it.
fn shown(character: char) -> String {
    match character {
        '\n' => "\\n".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_paths() {
        for (directory, named, expected) in [
            ("", "a.conf", "a.conf"),
            ("x", "./a.conf", "x/a.conf"),
            ("x/y", "../a.conf", "x/a.conf"),
            ("x", "../../a.conf", "../a.conf"),
            ("/x", "../../a.conf", "/a.conf"),
            ("/x", "/a.conf", "/x/a.conf"),
            ("", "/a.conf", "a.conf"),
        ] {
            assert_eq!(join(Path::new(directory), named), Path::new(expected));
        }
    }
}

//! Plays the conversations in `tests/cases/*.txt` against the server and compares every byte.
//!
//! `NATS_SERVER_BIN=/path/to/nats-server cargo test --test transcripts` plays them against a real nats-server instead: an
//! expectation belongs here only when that passes. `TRANSCRIPT=part-of-a-name` plays only the cases whose name contains it.
//!
//! # Case files
//!
//! Text, one instruction per line; blank lines and lines starting with `##` are skipped. Headers before the first `# name:`
//! hold for the whole file, headers after a `# name:` for that case:
//!
//! ```text
//! # name: what is tested                  starts a case
//! # server: --user a --pass b             command line flags
//! # set: max_payload=10,ping_max=2        limits without a flag, see `harness`
//! # config: accounts { A { } }            one line of the configuration file; for more lines, again
//! # file: b.conf port: 4222               one line of another file; for more lines, again
//! # fresh: yes                            do not share the server with other cases; its log is seen from the start
//! # run: --version                        no server: run the binary with these arguments until it exits, in a directory of
//!                                         its own that has the files, the configuration as `a.conf`
//! # only: skein                           for cases in which servers differ on purpose, or `nats-server`
//! ```
//!
//! Steps name a connection (one letter, `A` when absent); it is opened when first named, and its greeting INFO is read and
//! dropped unless the first thing expected from it is an `info` step:
//!
//! ```text
//! B> PING\r\n             send
//! B>x20 PUB …             send twenty times
//! B>1 PING\r\n            send byte by byte
//! B< PONG\r\n             the next bytes are exactly these
//! B<~ MSG foo ? *\r\n     the same, `?` stands for any byte, `*` for any bytes but a line feed
//! B<& MSG …               consecutive `<&` lines: these, in any order
//! BC<| MSG …              exactly one of these connections gets it, nothing comes to the others
//! B< EOF                  the server closes; nothing comes before
//! B< … EOF                the server closes; anything may come before
//! B< SILENCE              nothing comes for 60 ms
//! B<info a=1 b="x" c=* d=- e@f   the next line is an INFO: a is 1, b is "x", c is present, d absent, e comes before f
//! B! close                close from our side
//! ! signal USR2           send a signal to the server (the case needs `fresh`)
//! ! exit 0                the process ends by itself with this code
//! ! refused               a new connection is refused
//! ! log * [ERR] foo       a log line of this case matches (`*`, `?` as above)
//! ! mark                  remember now
//! ! since 150..900        milliseconds since `mark`
//! ! stdout * v?.*         (`run` cases) a line of standard output matches
//! ! stderr *              (`run` cases) a line of standard error matches
//! ! no stdout             (`run` cases) nothing was written to standard output
//! ```
//!
//! Escapes: `\r \n \t \0 \\ \xHH`, and `\*500{ab}` for five hundred times `ab`. In patterns `\?` is a question mark.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod harness;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::iter;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use harness::{PATIENCE, Server};

/// How long nothing must come for "nothing comes".
const SILENCE: Duration = Duration::from_millis(60);
/// Servers running at the same time.
const PARALLEL: usize = 4;
/// The file that `# config:` lines go to.
const CONFIG_FILE: &str = "a.conf";
/// Bytes of a mismatch shown in a report.
const SHOWN_BYTES_MAX: usize = 600;

#[test]
fn transcripts() {
    let only = env::var("TRANSCRIPT").unwrap_or_default();
    let mut cases = load_cases(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/cases"
    )));
    cases.retain(|case| case.name.contains(&only) && case.headers.is_for_this_server());
    assert!(
        !cases.is_empty(),
        "no case in tests/cases is called `{only}`"
    );
    let count = cases.len();
    let groups = group_by_server(cases);
    let servers = groups.len();
    let groups = Mutex::new(groups.into_iter());
    let next = || groups.lock().expect("taking a group does not panic").next();
    let mut failures = Vec::new();
    thread::scope(|scope| {
        let play_all = || {
            iter::from_fn(next)
                .flat_map(|group| play_group(&group))
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(play_all)).collect();
        for thread in threads {
            failures.append(&mut thread.join().expect("a group of cases does not panic"));
        }
    });
    println!("{count} cases on {servers} servers");
    assert!(
        failures.is_empty(),
        "{} of {count} cases fail:\n\n{}",
        failures.len(),
        failures.join("\n")
    );
}

// ---- cases ----

#[derive(Clone)]
struct Case {
    place: String,
    name: String,
    headers: Headers,
    steps: Vec<(usize, Step)>,
}

#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Headers {
    server: String,
    set: String,
    /// Names and lines.
    files: Vec<(String, String)>,
    fresh: bool,
    run: Option<String>,
    only: Option<String>,
}

impl Headers {
    /// The text of a file.
    fn file(&self, name: &str) -> String {
        let lines = self.files.iter().filter(|(file, _)| file == name);
        lines.fold(String::new(), |text, (_, line)| text + line + "\n")
    }

    fn is_for_this_server(&self) -> bool {
        let server = match harness::is_nats_server() {
            true => "nats-server",
            false => "skein",
        };
        self.only.as_deref().is_none_or(|only| only == server)
    }
}

#[derive(Clone)]
enum Step {
    Send {
        conn: char,
        bytes: Vec<u8>,
        times: usize,
    },
    SendBytewise {
        conn: char,
        bytes: Vec<u8>,
    },
    Expect {
        conn: char,
        bytes: Vec<u8>,
    },
    ExpectLike {
        conn: char,
        pattern: Vec<Glob>,
    },
    ExpectUnordered {
        conn: char,
        chunks: Vec<Vec<u8>>,
    },
    ExpectAtOne {
        conns: Vec<char>,
        bytes: Vec<u8>,
    },
    ExpectInfo {
        conn: char,
        fields: Vec<InfoField>,
    },
    ExpectEof {
        conn: char,
        skip: bool,
    },
    ExpectSilence {
        conn: char,
    },
    Close {
        conn: char,
    },
    Signal(String),
    Exit(i32),
    Refused,
    Log(Vec<Glob>),
    Mark,
    Since {
        min_ms: u64,
        max_ms: u64,
    },
    Stdout(Vec<Glob>),
    Stderr(Vec<Glob>),
    NoStdout,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Glob {
    Byte(u8),
    AnyByte,
    AnyBytes,
}

#[derive(Clone)]
enum InfoField {
    Is(String, String),
    Present(String),
    Absent(String),
    Before(String, String),
}

fn load_cases(directory: &Path) -> Vec<Case> {
    let entries = fs::read_dir(directory).expect("tests/cases is readable");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("tests/cases is readable").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a case file is UTF-8");
        let file = path
            .file_name()
            .expect("it has an extension")
            .to_string_lossy()
            .into_owned();
        parse_file(&file, &text, &mut cases);
    }
    cases
}

fn parse_file(file: &str, text: &str, cases: &mut Vec<Case>) {
    let mut file_headers = Headers::default();
    let mut case: Option<Case> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim().is_empty() || line.starts_with("##") {
            continue;
        }
        let parsed = if let Some(header) = line.strip_prefix("# ") {
            let (key, value) = header.split_once(':').unwrap_or((header, ""));
            let value = value.trim();
            if key == "name" {
                cases.extend(case.take());
                let place = format!("{file}:{number}");
                case = Some(Case {
                    place,
                    name: value.into(),
                    headers: file_headers.clone(),
                    steps: Vec::new(),
                });
                Ok(())
            } else {
                parse_header(
                    case.as_mut()
                        .map_or(&mut file_headers, |case| &mut case.headers),
                    key,
                    value,
                )
            }
        } else {
            match case.as_mut() {
                Some(case) => parse_step(line).map(|step| push_step(&mut case.steps, number, step)),
                None => Err("a step before the first `# name:`".into()),
            }
        };
        if let Err(error) = parsed {
            panic!("{file}:{number}: {error}: {line}");
        }
    }
    cases.extend(case);
}

fn parse_header(headers: &mut Headers, key: &str, value: &str) -> Result<(), String> {
    match key {
        "server" => headers.server = value.into(),
        "set" => headers.set = value.into(),
        "config" => headers.files.push((CONFIG_FILE.into(), value.into())),
        "file" => {
            let (name, line) = value.split_once(' ').unwrap_or((value, ""));
            headers.files.push((name.into(), line.into()));
        }
        "fresh" => headers.fresh = value == "yes",
        "run" => headers.run = Some(value.into()),
        "only" if matches!(value, "skein" | "nats-server") => headers.only = Some(value.into()),
        _ => return Err(format!("unknown header `{key}`")),
    }
    Ok(())
}

fn push_step(steps: &mut Vec<(usize, Step)>, number: usize, step: Step) {
    if let Step::ExpectUnordered { conn, chunks } = &step
        && let Some((
            _,
            Step::ExpectUnordered {
                conn: before,
                chunks: all,
            },
        )) = steps.last_mut()
        && before == conn
    {
        all.extend(chunks.iter().cloned());
        return;
    }
    steps.push((number, step));
}

fn parse_step(line: &str) -> Result<Step, String> {
    let (head, argument) = line.split_once(' ').unwrap_or((line, ""));
    let split = head
        .find(|letter: char| !letter.is_ascii_uppercase())
        .ok_or("neither `>`, `<` nor `!`")?;
    let (conns, verb) = head.split_at(split);
    let conn = conns.chars().next().unwrap_or('A');
    if let Some(times) = verb.strip_prefix(">x") {
        let times = times.parse().map_err(|_| "`>x` needs a number")?;
        return Ok(Step::Send {
            conn,
            bytes: unescape(argument)?,
            times,
        });
    }
    Ok(match verb {
        ">" => Step::Send {
            conn,
            bytes: unescape(argument)?,
            times: 1,
        },
        ">1" => Step::SendBytewise {
            conn,
            bytes: unescape(argument)?,
        },
        "<" if argument == "EOF" => Step::ExpectEof { conn, skip: false },
        "<" if argument == "… EOF" => Step::ExpectEof { conn, skip: true },
        "<" if argument == "SILENCE" => Step::ExpectSilence { conn },
        "<" => Step::Expect {
            conn,
            bytes: unescape(argument)?,
        },
        "<~" => Step::ExpectLike {
            conn,
            pattern: parse_glob(argument)?,
        },
        "<&" => Step::ExpectUnordered {
            conn,
            chunks: vec![unescape(argument)?],
        },
        "<|" => Step::ExpectAtOne {
            conns: conns.chars().collect(),
            bytes: unescape(argument)?,
        },
        "<info" => Step::ExpectInfo {
            conn,
            fields: argument.split_whitespace().map(parse_info_field).collect(),
        },
        "!" => return parse_command(conn, argument),
        _ => return Err(format!("unknown verb `{verb}`")),
    })
}

fn parse_command(conn: char, text: &str) -> Result<Step, String> {
    let (command, argument) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match command {
        "close" => Step::Close { conn },
        "signal" => Step::Signal(argument.into()),
        "exit" => Step::Exit(argument.parse().map_err(|_| "`exit` needs a number")?),
        "refused" => Step::Refused,
        "log" => Step::Log(parse_glob(argument)?),
        "mark" => Step::Mark,
        "since" => {
            let (min, max) = argument.split_once("..").ok_or("`since` needs MIN..MAX")?;
            let number = |text: &str| text.parse().map_err(|_| "`since` needs numbers");
            Step::Since {
                min_ms: number(min)?,
                max_ms: number(max)?,
            }
        }
        "stdout" => Step::Stdout(parse_glob(argument)?),
        "stderr" => Step::Stderr(parse_glob(argument)?),
        "no" if argument == "stdout" => Step::NoStdout,
        _ => return Err(format!("unknown command `{command}`")),
    })
}

fn parse_info_field(text: &str) -> InfoField {
    match (text.split_once('='), text.split_once('@')) {
        (Some((name, "*")), _) => InfoField::Present(name.into()),
        (Some((name, "-")), _) => InfoField::Absent(name.into()),
        (Some((name, value)), _) => InfoField::Is(name.into(), value.into()),
        (None, Some((first, second))) => InfoField::Before(first.into(), second.into()),
        (None, None) => InfoField::Present(text.into()),
    }
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for glob in parse_escapes(text, false)? {
        let Glob::Byte(byte) = glob else {
            unreachable!("wildcards are off")
        };
        bytes.push(byte);
    }
    Ok(bytes)
}

fn parse_glob(text: &str) -> Result<Vec<Glob>, String> {
    parse_escapes(text, true)
}

fn parse_escapes(text: &str, wildcards: bool) -> Result<Vec<Glob>, String> {
    let mut globs = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'?' if wildcards => globs.push(Glob::AnyByte),
            b'*' if wildcards => globs.push(Glob::AnyBytes),
            b'\\' => rest = parse_escape(rest, wildcards, &mut globs)?,
            byte => globs.push(Glob::Byte(*byte)),
        }
    }
    Ok(globs)
}

/// One escape, after its backslash; the text behind it.
fn parse_escape<'a>(
    text: &'a [u8],
    wildcards: bool,
    globs: &mut Vec<Glob>,
) -> Result<&'a [u8], String> {
    let [letter, rest @ ..] = text else {
        return Err("a backslash at the end".into());
    };
    let byte = match letter {
        b'r' => b'\r',
        b'n' => b'\n',
        b't' => b'\t',
        b'0' => 0,
        b'\\' | b'?' => *letter,
        b'x' => {
            let (digits, rest) = rest.split_at_checked(2).ok_or("`\\x` needs two digits")?;
            let digits = str::from_utf8(digits).map_err(|_| "`\\x` needs two digits")?;
            globs.push(Glob::Byte(
                u8::from_str_radix(digits, 16).map_err(|_| "`\\x` needs two digits")?,
            ));
            return Ok(rest);
        }
        b'*' => {
            let text = str::from_utf8(rest).expect("case files are UTF-8 and `*` is ASCII");
            let (count, tail) = text.split_once('{').ok_or("`\\*` needs COUNT{text}")?;
            let (repeated, tail) = tail.split_once('}').ok_or("`\\*` needs COUNT{text}")?;
            let count = count.parse().map_err(|_| "`\\*` needs COUNT{text}")?;
            let once = parse_escapes(repeated, wildcards)?;
            globs.extend(iter::repeat_n(once, count).flatten());
            return Ok(tail.as_bytes());
        }
        _ => return Err(format!("unknown escape `\\{}`", char::from(*letter))),
    };
    globs.push(Glob::Byte(byte));
    Ok(rest)
}

// ---- playing ----

/// Cases that can share a server; a case that asks for a fresh one is alone.
fn group_by_server(cases: Vec<Case>) -> Vec<Vec<Case>> {
    let mut shared: BTreeMap<Headers, Vec<Case>> = BTreeMap::new();
    let mut groups = Vec::new();
    for case in cases {
        if case.headers.fresh || case.headers.run.is_some() {
            groups.push(vec![case]);
        } else {
            shared.entry(case.headers.clone()).or_default().push(case);
        }
    }
    // The long ones first.
    groups.extend(shared.into_values());
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

/// The failures of a group, as text.
fn play_group(cases: &[Case]) -> Vec<String> {
    let Some(first) = cases.first() else {
        return Vec::new();
    };
    if let Some(arguments) = &first.headers.run {
        return run_to_exit(first, arguments).err().into_iter().collect();
    }
    let mut server = match Server::start_with(
        &first.headers.server,
        &first.headers.set,
        &first.headers.file(CONFIG_FILE),
    ) {
        Ok(server) => server,
        Err(problem) => return cases.iter().map(|case| report(case, 0, &problem)).collect(),
    };
    let mut failures = Vec::new();
    for case in cases {
        // Who has a server alone may ask what it said when it started.
        let log_start = match case.headers.fresh {
            true => 0,
            false => server.log_position(),
        };
        let play = Play {
            server: &mut server,
            log_start,
            conns: BTreeMap::new(),
            mark: Instant::now(),
        };
        if let Err(failure) = play.case(case) {
            let log = server
                .log_text()
                .lines()
                .skip(log_start)
                .fold(String::new(), |log, line| log + "    " + line + "\n");
            failures.push(format!("{failure}  log:\n{log}"));
        }
    }
    failures
}

struct Play<'s> {
    server: &'s mut Server,
    log_start: usize,
    conns: BTreeMap<char, Conn>,
    mark: Instant,
}

impl Play<'_> {
    fn case(mut self, case: &Case) -> Result<(), String> {
        for (number, step) in &case.steps {
            self.step(step)
                .map_err(|problem| report(case, *number, &problem))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send { conn, bytes, times } => {
                let conn = self.conn(*conn)?;
                (0..*times).for_each(|_| conn.send(bytes));
            }
            Step::SendBytewise { conn, bytes } => {
                let conn = self.conn(*conn)?;
                bytes.chunks(1).for_each(|byte| conn.send(byte));
            }
            Step::Expect { conn, bytes } => self.greeted(*conn)?.expect(bytes)?,
            Step::ExpectLike { conn, pattern } => self.greeted(*conn)?.expect_like(pattern)?,
            Step::ExpectUnordered { conn, chunks } => {
                self.greeted(*conn)?.expect_unordered(chunks)?
            }
            Step::ExpectAtOne { conns, bytes } => self.expect_at_one(conns, bytes)?,
            Step::ExpectInfo { conn, fields } => self.conn(*conn)?.expect_info(fields)?,
            Step::ExpectEof { conn, skip } => self.greeted(*conn)?.expect_eof(*skip)?,
            Step::ExpectSilence { conn } => self.greeted(*conn)?.expect_silence()?,
            Step::Close { conn } => self.greeted(*conn)?.close(),
            Step::Signal(name) => {
                if !harness::signal(self.server.pid(), name) {
                    return Err("the server is not running\n".into());
                }
            }
            Step::Exit(code) => match self.server.wait_for_exit() {
                Some(actual) if actual == *code => {}
                actual => return Err(format!("expected exit code {code}, got {actual:?}\n")),
            },
            Step::Refused => {
                // Servers say so first, and then close the listener.
                let until = Instant::now() + PATIENCE;
                while TcpStream::connect(self.server.address()).is_ok() {
                    if Instant::now() > until {
                        return Err("a new connection is accepted\n".into());
                    }
                }
            }
            Step::Log(pattern) => {
                if !self.server.wait_for_log(self.log_start, |line| {
                    matches_glob(pattern, line.as_bytes())
                }) {
                    return Err("no such log line\n".into());
                }
            }
            Step::Mark => self.mark = Instant::now(),
            Step::Since { min_ms, max_ms } => {
                let elapsed = self.mark.elapsed();
                if elapsed < Duration::from_millis(*min_ms)
                    || elapsed > Duration::from_millis(*max_ms)
                {
                    return Err(format!("{elapsed:?} since mark\n"));
                }
            }
            Step::Stdout(_) | Step::Stderr(_) | Step::NoStdout => {
                return Err("only `# run:` cases have output\n".into());
            }
        }
        Ok(())
    }

    fn conn(&mut self, name: char) -> Result<&mut Conn, String> {
        match self.conns.entry(name) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let stream = TcpStream::connect(self.server.address())
                    .map_err(|error| format!("connect: {error}\n"))?;
                Ok(entry.insert(Conn::new(stream)))
            }
        }
    }

    fn greeted(&mut self, name: char) -> Result<&mut Conn, String> {
        let conn = self.conn(name)?;
        conn.skip_greeting()?;
        Ok(conn)
    }

    fn expect_at_one(&mut self, names: &[char], bytes: &[u8]) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut at = None;
        while at.is_none() && Instant::now() < deadline {
            for name in names {
                let conn = self.greeted(*name)?;
                conn.fill_for(Duration::from_millis(2));
                if !conn.received.is_empty() {
                    at = Some(*name);
                    break;
                }
            }
        }
        let Some(at) = at else {
            return Err("nothing came to any of them\n".into());
        };
        self.greeted(at)?.expect(bytes)?;
        for name in names.iter().filter(|name| **name != at) {
            self.greeted(*name)?.expect_silence()?;
        }
        Ok(())
    }
}

/// Our end of one client connection.
struct Conn {
    stream: TcpStream,
    received: Vec<u8>,
    closed: bool,
    greeted: bool,
}

impl Conn {
    fn new(stream: TcpStream) -> Self {
        // Without these a test is only slower, or hangs where it would fail.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(PATIENCE));
        Self {
            stream,
            received: Vec::new(),
            closed: false,
            greeted: false,
        }
    }

    /// A failing send is no failure: the server may have closed already, and what it said is still to be read.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        while !self.closed && self.fill_for(PATIENCE) {}
        self.received.clear();
    }

    fn skip_greeting(&mut self) -> Result<(), String> {
        if self.greeted {
            return Ok(());
        }
        let line = self.take_line()?;
        if line.starts_with(b"INFO {") {
            Ok(())
        } else {
            Err(format!("greeted with `{}`\n", show(&line)))
        }
    }

    fn expect(&mut self, expected: &[u8]) -> Result<(), String> {
        self.fill_until(|received| {
            received.len() >= expected.len() || !expected.starts_with(received)
        });
        if self.received.starts_with(expected) {
            self.received.drain(..expected.len());
            return Ok(());
        }
        Err(self.mismatch(&show(expected)))
    }

    fn expect_like(&mut self, pattern: &[Glob]) -> Result<(), String> {
        let lines = pattern
            .iter()
            .filter(|glob| **glob == Glob::Byte(b'\n'))
            .count();
        let end = |received: &[u8]| {
            let mut ends = received
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'\n')
                .map(|(index, _)| index + 1);
            ends.nth(lines.saturating_sub(1))
        };
        self.fill_until(|received| end(received).is_some());
        let candidate = end(&self.received).and_then(|end| self.received.get(..end));
        match candidate
            .filter(|candidate| matches_glob(pattern, candidate))
            .map(<[u8]>::len)
        {
            Some(end) => {
                self.received.drain(..end);
                Ok(())
            }
            None => Err(self.mismatch("what the pattern says")),
        }
    }

    fn expect_unordered(&mut self, chunks: &[Vec<u8>]) -> Result<(), String> {
        let mut missing: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        while !missing.is_empty() {
            self.fill_until(|received| {
                missing.iter().any(|chunk| received.starts_with(chunk))
                    || !missing.iter().any(|chunk| chunk.starts_with(received))
            });
            match missing
                .iter()
                .position(|chunk| self.received.starts_with(chunk))
            {
                Some(index) => self.received.drain(..missing.swap_remove(index).len()),
                None => {
                    return Err(self.mismatch(
                        &missing
                            .iter()
                            .map(|chunk| show(chunk))
                            .collect::<Vec<_>>()
                            .join(" | "),
                    ));
                }
            };
        }
        Ok(())
    }

    fn expect_info(&mut self, fields: &[InfoField]) -> Result<(), String> {
        let line = self.take_line()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let Some(json) = line
            .strip_prefix("INFO ")
            .map(str::trim_end)
            .filter(|json| json.ends_with('}'))
        else {
            return Err(format!(
                "expected an INFO line, got `{}`\n",
                show(line.as_bytes())
            ));
        };
        for field in fields {
            let holds = match field {
                InfoField::Is(name, value) => {
                    json_field(json, name).is_some_and(|(_, actual)| actual == value)
                }
                InfoField::Present(name) => json_field(json, name).is_some(),
                InfoField::Absent(name) => json_field(json, name).is_none(),
                InfoField::Before(first, second) => {
                    match (json_field(json, first), json_field(json, second)) {
                        (Some((first_at, _)), Some((second_at, _))) => first_at < second_at,
                        _ => false,
                    }
                }
            };
            if !holds {
                let expected = match field {
                    InfoField::Is(name, value) => format!("{name} is {value}"),
                    InfoField::Present(name) => format!("{name} is present"),
                    InfoField::Absent(name) => format!("{name} is absent"),
                    InfoField::Before(first, second) => format!("{first} comes before {second}"),
                };
                return Err(format!("  INFO where {expected}\n  got {json}\n"));
            }
        }
        Ok(())
    }

    fn expect_eof(&mut self, skip: bool) -> Result<(), String> {
        self.fill_until(|received| !skip && !received.is_empty());
        if self.closed && (skip || self.received.is_empty()) {
            self.received.clear();
            return Ok(());
        }
        Err(self.mismatch("EOF"))
    }

    fn expect_silence(&mut self) -> Result<(), String> {
        if self.received.is_empty() && !self.closed {
            self.fill_for(SILENCE);
        }
        if self.received.is_empty() && !self.closed {
            Ok(())
        } else {
            Err(self.mismatch("nothing"))
        }
    }

    fn take_line(&mut self) -> Result<Vec<u8>, String> {
        self.greeted = true;
        self.fill_until(|received| received.contains(&b'\n'));
        match self.received.iter().position(|byte| *byte == b'\n') {
            Some(end) => Ok(self.received.drain(..=end).collect()),
            None => Err(self.mismatch("a line")),
        }
    }

    /// Reads until `enough` holds, the server closes, or patience ends.
    fn fill_until(&mut self, enough: impl Fn(&[u8]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.closed && !enough(&self.received) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.fill_for(left) {
                break;
            }
        }
    }

    /// Reads once; whether there was anything to read (the end counts) within `timeout`.
    fn fill_for(&mut self, timeout: Duration) -> bool {
        let mut buffer = [0; 65536];
        let _ = self.stream.set_read_timeout(Some(timeout));
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(count) => self.received.extend(buffer.iter().take(count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A reset after the last byte is how a close looks when our own bytes were left unread.
            Err(_) => self.closed = true,
        }
        true
    }

    fn mismatch(&self, expected: &str) -> String {
        let end = if self.closed { " EOF" } else { "" };
        format!(
            "  expected `{expected}`\n  got      `{}`{end}\n",
            show(&self.received)
        )
    }
}

fn run_to_exit(case: &Case, arguments: &str) -> Result<(), String> {
    let number = case.steps.first().map_or(0, |(number, _)| *number);
    let place = harness::Directory::new();
    for (name, _) in &case.headers.files {
        place.write(name, &case.headers.file(name));
    }
    let mut command = harness::command();
    command
        .current_dir(place.path())
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command
        .spawn()
        .map_err(|error| report(case, number, &format!("{error}\n")))?;
    let pid = child.id();
    let (sender, receiver) = channel();
    let waiter = thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(PATIENCE) else {
        harness::signal(pid, "KILL");
        let _ = waiter.join();
        return Err(report(case, number, "it does not exit\n"));
    };
    let output = output.map_err(|error| report(case, number, &format!("{error}\n")))?;
    let shown = format!(
        "  exit code {:?}\n  stdout `{}`\n  stderr `{}`\n",
        output.status.code(),
        show(&output.stdout),
        show(&output.stderr)
    );
    let has_line = |bytes: &[u8], pattern: &[Glob]| {
        bytes
            .split(|byte| *byte == b'\n')
            .any(|line| matches_glob(pattern, line))
    };
    for (number, step) in &case.steps {
        let holds = match step {
            Step::Exit(code) => output.status.code() == Some(*code),
            Step::Stdout(pattern) => has_line(&output.stdout, pattern),
            Step::Stderr(pattern) => has_line(&output.stderr, pattern),
            Step::NoStdout => output.stdout.is_empty(),
            _ => false,
        };
        if !holds {
            return Err(report(case, *number, &shown));
        }
    }
    Ok(())
}

// ---- matching and showing ----

fn matches_glob(pattern: &[Glob], bytes: &[u8]) -> bool {
    match (pattern, bytes) {
        ([], []) => true,
        ([Glob::AnyBytes, rest @ ..], _) => {
            matches_glob(rest, bytes)
                || matches!(bytes, [first, tail @ ..] if *first != b'\n' && matches_glob(pattern, tail))
        }
        ([Glob::AnyByte, rest @ ..], [_, tail @ ..]) => matches_glob(rest, tail),
        ([Glob::Byte(expected), rest @ ..], [byte, tail @ ..]) => {
            expected == byte && matches_glob(rest, tail)
        }
        _ => false,
    }
}

/// Offset and raw text of a top-level field of a JSON object without nested objects.
fn json_field<'j>(json: &'j str, name: &str) -> Option<(usize, &'j str)> {
    let key = format!("\"{name}\":");
    let at = json
        .match_indices(&key)
        .map(|(at, _)| at)
        .find(|at| json[..*at].ends_with(['{', ',']))?;
    let value = json.get(at + key.len()..)?;
    let mut quoted = false;
    let mut depth = 0_i32;
    for (index, letter) in value.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth -= 1,
            ',' | '}' if !quoted && depth == 0 => {
                return value.get(..index).map(|value| (at, value));
            }
            _ => {}
        }
    }
    None
}

fn report(case: &Case, number: usize, problem: &str) -> String {
    format!(
        "{}: {}\n  at line {number}:\n{problem}",
        case.place, case.name
    )
}

fn show(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(SHOWN_BYTES_MAX) {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    if bytes.len() > SHOWN_BYTES_MAX {
        let _ = write!(text, "… ({} bytes)", bytes.len());
    }
    text
}

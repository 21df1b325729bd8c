//! Holds the code against the house plan (`src/ARCHITECTURE.md`, Rooms): who may import whom, where
//! `unsafe` and the operating system may appear, how files begin and how long they may be.
//!
//! It reads the sources as text, line by line, without comments. What it cannot see: names that
//! come in through a re-export of an allowed module.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 1000;

/// Modules and what each may import of the crate, besides itself.
const MODULES: &[(&str, &[&str])] = &[
    // Level 0.
    ("base", &[]),
    // Level 1.
    ("proto", &["base"]),
    ("subject", &["base"]),
    ("auth", &["base", "subject"]),
    ("config", &["base", "subject", "auth"]),
    ("store", &["base", "subject"]),
    // Level 2.
    ("session", &["base", "proto", "subject", "auth"]),
    ("router", &["base", "subject", "auth"]),
    ("jetstream", &["base", "proto", "subject", "store"]),
    // It reads another server's store; where what it reads goes to, `runtime` knows.
    ("import", &["base", "subject", "store", "jetstream"]),
    // Level 3. `Limits` are plain numbers of the configuration, which a shard is told at start.
    (
        "shard",
        &[
            "base",
            "proto",
            "subject",
            "auth",
            "config",
            "session",
            "router",
            "jetstream",
            "store",
        ],
    ),
    // Level 4. It sees shards through the plain facts that they tell.
    (
        "control",
        &[
            "base", "proto", "subject", "auth", "config", "session", "shard",
        ],
    ),
    // Level 5. It makes the `Gate` of the configuration and speaks of `CloseReason`, and
    // sits on top of everything but the router and the index.
    (
        "runtime",
        &[
            "base",
            "proto",
            "auth",
            "config",
            "session",
            "shard",
            "control",
            "import",
            "jetstream",
            "store",
        ],
    ),
];

/// What `main.rs` may import of the library.
const MAIN_IMPORTS: &[&str] = &["config", "runtime"];

/// Modules that may hold `unsafe` blocks.
const UNSAFE_IN: &[&str] = &["base", "runtime"];

/// The operating system: only in `runtime` and `main.rs`.
const SYSTEM: &[&str] = &[
    "glommio",
    "io_uring",
    "libc::",
    "signal_hook",
    "core_affinity",
    "crossbeam_channel",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "SystemTime",
    "std::fs",
    "std::process",
    "std::env",
    "std::os",
    "async fn",
    "async move",
    "async {",
];
/// The same, but for unit tests, which may use real threads to test what threads share.
const SYSTEM_BUT_IN_TESTS: &[&str] = &[
    // Not the word alone: a replay policy is called so.
    "Instant::now",
    "time::Instant",
    "Instant}",
    "{Instant",
    "std::thread",
    "thread::spawn",
];

/// Known exceptions: file, what is in it, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "src/config/command_line.rs",
    "std::os",
    "arguments are bytes, and only the platform's extension trait shows them",
)];

/// What may lie at the top beside dot-files.
const TOP: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "loadgen",
    "packaging",
    "src",
    "target",
    "tests",
    "tuning",
];

/// One source file.
struct Source {
    /// From the top of the repository.
    path: String,
    text: String,
}

impl Source {
    /// The module below `src`, or the file for `main.rs` and `lib.rs`.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").expect("it is below src");
        below.split('/').next().expect("split gives one at least")
    }

    /// Lines with their numbers, without comments, and whether they are of a unit test.
    fn code(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let all_tests = self.path.ends_with("/tests.rs");
        let mut in_tests = all_tests;
        self.text.lines().enumerate().map(move |(i, line)| {
            // Tests come last in a file.
            in_tests |= line.starts_with("mod tests {");
            let code = line.split("//").next().expect("split gives one at least");
            (i + 1, code, in_tests)
        })
    }
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&top().join(folder), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(top()).expect("it is below the top");
            found.push(Source {
                path: name.to_string_lossy().into_owned(),
                text: fs::read_to_string(&path).expect("sources are text"),
            });
        }
    }
}

/// The identifiers right behind each `prefix` in a line.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).map(move |(at, _)| {
        let rest = &line[at + prefix.len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

fn report(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn modules_import_what_they_may() {
    let mut offences = Vec::new();
    for source in sources("src") {
        let module = source.module();
        let (prefix, allowed) = match module {
            "main.rs" => ("skein::", MAIN_IMPORTS),
            "lib.rs" => continue,
            _ => match MODULES.iter().find(|(name, _)| *name == module) {
                Some(&(_, allowed)) => ("crate::", allowed),
                None => {
                    offences.push(format!("{}: not in the table of modules", source.path));
                    continue;
                }
            },
        };
        for (line, code, _) in source.code() {
            for name in names_after(code, prefix) {
                if name.is_empty() {
                    offences.push(format!(
                        "{}:{line}: imports of several modules at once hide who imports whom",
                        source.path
                    ));
                } else if name != module && !allowed.contains(&name) {
                    offences.push(format!(
                        "{}:{line}: {module} may not import {name}",
                        source.path
                    ));
                }
            }
            // Out of a module by the back door.
            let depth = source.path.matches('/').count();
            if code.contains(&"super::".repeat(depth.max(1) + 1)) {
                offences.push(format!("{}:{line}: super:: out of {module}", source.path));
            }
        }
    }
    report(&offences);
}

#[test]
fn every_module_of_the_table_exists() {
    let found: BTreeSet<String> = sources("src")
        .iter()
        .map(|source| source.module().to_owned())
        .filter(|module| !module.ends_with(".rs"))
        .collect();
    let table: BTreeSet<String> = MODULES.iter().map(|&(name, _)| name.to_owned()).collect();
    assert_eq!(found, table);
}

#[test]
fn unsafe_stays_where_it_may() {
    let mut offences = Vec::new();
    for source in sources("src") {
        if UNSAFE_IN.contains(&source.module()) {
            continue;
        }
        for (line, code, _) in source.code() {
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| word == "unsafe") {
                offences.push(format!("{}:{line}: unsafe", source.path));
            }
        }
    }
    report(&offences);
}

#[test]
fn the_operating_system_stays_in_the_shell() {
    let mut offences = Vec::new();
    for source in sources("src") {
        if matches!(source.module(), "runtime" | "main.rs") {
            continue;
        }
        for (line, code, in_tests) in source.code() {
            let also = if in_tests { &[] } else { SYSTEM_BUT_IN_TESTS };
            for &name in SYSTEM.iter().chain(also) {
                let excepted = EXCEPTIONS
                    .iter()
                    .any(|&(path, what, _)| path == source.path && what == name);
                if code.contains(name) && !excepted {
                    offences.push(format!("{}:{line}: {name}", source.path));
                }
            }
        }
    }
    report(&offences);
}

#[test]
fn files_say_what_they_are_for_and_fit_in_one_head() {
    let mut offences = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        if !source.text.starts_with("//! ") {
            offences.push(format!("{}: does not begin with its purpose", source.path));
        }
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            offences.push(format!("{}: {lines} lines", source.path));
        }
    }
    report(&offences);
}

#[test]
fn nothing_else_lies_at_the_top() {
    let offences: Vec<String> = fs::read_dir(top())
        .expect("the top can be read")
        .map(|entry| entry.expect("the entry can be read").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()))
        .collect();
    report(&offences);
}

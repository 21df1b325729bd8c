//! Other people's clients: the scripts in `scripts/`, each against a server of its own, compared with what they printed on
//! nats-server 2.15.1 (`recorded/`).
//!
//! Without its tools, a script is not played, and says so: nats-py, the `nats` CLI, or node with the packages `@nats-io/*` in
//! the folder that `NATS_IO` names (`.ci/run` installs them).

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{self, Directory, Server};
use crate::shown;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/jetstream");

#[test]
fn nats_py() {
    let script = format!("{FOLDER}/scripts/nats_py.py");
    play("nats_py", Command::new("python3").arg(script));
}

#[test]
fn nats_io() {
    let Some(packages) = env::var_os("NATS_IO").map(PathBuf::from) else {
        println!("tested without @nats-io: NATS_IO names no folder with the packages");
        return;
    };
    // Packages are looked for from where the script lies.
    let folder = Directory::new();
    let script = folder.path().join("nats_io.mjs");
    fs::copy(format!("{FOLDER}/scripts/nats_io.mjs"), &script).expect("it can be copied");
    let link = folder.path().join("node_modules");
    std::os::unix::fs::symlink(packages.join("node_modules"), link).expect("it can be linked");
    play("nats_io", Command::new("node").arg(script));
}

#[test]
fn nats_cli() {
    let here = Command::new("nats")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if here.is_err() {
        println!("tested without the nats CLI");
        return;
    }
    let script = format!("{FOLDER}/scripts/session");
    play("nats_cli", Command::new("bash").arg(script));
}

/// Starts a server with JetStream.
pub fn start(directory: &Directory) -> Server {
    let store = directory.path().display();
    let config = format!("server_name: proof\njetstream {{ store_dir: \"{store}\" }}\n");
    Server::configured(&config).unwrap_or_else(|log| panic!("{log}"))
}

fn play(name: &str, command: &mut Command) {
    let directory = Directory::new();
    let mut server = start(&directory);
    let url = format!("nats://{}", server.address());
    let output = match command.env("NATS_URL", url).output() {
        Ok(output) => output,
        Err(error) => return println!("tested without {name}: {error}"),
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    if printed.starts_with("missing") {
        return println!("tested without {name}: {}", printed.trim());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let complaint = match output.status.success() {
        true => String::new(),
        false => format!("it ends with {}: {errors}\n", output.status),
    };
    let log = server.log_text();
    let log = log.lines().filter(|line| line.contains("panicked"));
    let panics = log.fold(String::new(), |text, line| text + line + "\n");
    compare(name, &printed, &(complaint + &panics));
}

/// Compares with the recording, or makes it.
pub fn compare(name: &str, printed: &str, complaint: &str) {
    let shown: String = printed
        .lines()
        .map(|line| shown::json_text(line) + "\n")
        .collect();
    let path = Path::new(FOLDER).join(format!("recorded/{name}.txt"));
    if env::var_os("RECORD").is_some() && harness::is_nats_server() {
        assert_eq!(complaint, "");
        fs::write(path, shown).expect("the recording can be written");
        return;
    }
    let recorded = fs::read_to_string(&path).expect("there is a recording");
    let mut report = String::new();
    let (expected, got) = (blocks(&recorded), blocks(&shown));
    for (i, block) in expected.iter().enumerate() {
        let other = got.get(i).map_or(&[][..], Vec::as_slice);
        if block.len() != other.len() {
            let _ = writeln!(report, "  expected:\n{}", block.join("\n"));
            let _ = writeln!(report, "  got:\n{}", other.join("\n"));
            continue;
        }
        for (expected, got) in block.iter().zip(other) {
            if shown::canonical(expected) != shown::canonical(got) {
                let start: String = block[0].chars().take(100).collect();
                let difference = shown::difference(expected, got);
                let _ = write!(report, "  {start}\n{difference}");
            }
        }
    }
    for block in got.iter().skip(expected.len()) {
        let _ = writeln!(report, "  unexpected:\n{}", block.join("\n"));
    }
    assert!(
        report.is_empty() && complaint.is_empty(),
        "{name} sees something else than with nats-server:\n{complaint}{report}"
    );
}

/// Lines of a command each; where there are no commands, each line for itself.
fn blocks(text: &str) -> Vec<Vec<&str>> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let commands = text.lines().any(|line| line.starts_with("$ "));
    for line in text.lines().filter(|line| !line.is_empty()) {
        match blocks.last_mut() {
            Some(block) if commands && !line.starts_with("$ ") => block.push(line),
            _ => blocks.push(vec![line]),
        }
    }
    blocks
}

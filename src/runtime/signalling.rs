//! `--signal`: tells a running server something, and ends.

use std::fs;
use std::io;

use crate::config::{SignalCommand, SignalOrder};

/// What servers are called in the list of processes.
const PROCESS_NAME: &str = "skein";

/// Does it.
///
/// # Errors
/// Nobody or not everybody could be told; the text is nats-server's.
pub fn signal(order: &SignalOrder) -> Result<(), String> {
    let pids = addressees(&whom(&order.whom), running)?;
    let signal = match order.command {
        SignalCommand::Stop => libc::SIGKILL,
        SignalCommand::Quit => libc::SIGINT,
        SignalCommand::Term => libc::SIGTERM,
        SignalCommand::Reopen => libc::SIGUSR1,
        SignalCommand::Reload => libc::SIGHUP,
        SignalCommand::LameDuck => libc::SIGUSR2,
    };
    let mut failures = String::new();
    for pid in pids {
        // SAFETY: takes two numbers.
        if unsafe { libc::kill(pid, signal) } != 0 {
            let error = io::Error::last_os_error();
            let what = match error.raw_os_error() {
                Some(libc::ESRCH) => "no such process".to_owned(),
                Some(libc::EPERM) => "operation not permitted".to_owned(),
                _ => error.to_string(),
            };
            let name = order.command.name();
            failures.push_str(&format!("\nsignal {name:?} {pid}: {what}"));
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures),
    }
}

/// What stands in the file of this name, if there is one.
fn whom(given: &str) -> String {
    match fs::read(given) {
        Ok(content) => String::from_utf8_lossy(&content).trim().to_owned(),
        Err(_) => given.to_owned(),
    }
}

/// The processes that are meant; `running` finds those that there are.
fn addressees(whom: &str, running: impl Fn() -> Vec<i32>) -> Result<Vec<i32>, String> {
    let start = whom.strip_suffix('*');
    let digits = start.unwrap_or(whom);
    if !digits.is_empty() {
        // 0 and negative numbers are groups of processes.
        let pid = digits.parse::<i32>().ok().filter(|&pid| pid > 0);
        let pid = pid.ok_or_else(|| format!("invalid pid: {digits}"))?;
        if start.is_none() {
            return Ok(vec![pid]);
        }
    }
    let mut pids = running();
    match &*pids {
        [] => return Err(format!("no {PROCESS_NAME} processes running")),
        [_, _, ..] if start.is_none() => {
            let list: String = pids.iter().map(|pid| format!("\n{pid}")).collect();
            return Err(format!("multiple {PROCESS_NAME} processes running:{list}"));
        }
        _ => {}
    }
    pids.retain(|pid| pid.to_string().starts_with(digits));
    Ok(pids)
}

/// The other processes of this name.
fn running() -> Vec<i32> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut pids: Vec<i32> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = fs::read_to_string(entry.path().join("comm"));
            name.is_ok_and(|name| name.trim_end() == PROCESS_NAME)
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| pid.unsigned_abs() != own)
        .collect();
    pids.sort_unstable();
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_meant() {
        let check = |whom: &str, running: &[i32], expected: Result<&[i32], &str>| {
            let found = addressees(whom, || running.to_vec());
            let found = found.as_deref().map_err(String::as_str);
            assert_eq!(found, expected, "{whom:?} {running:?}");
        };
        check("12", &[], Ok(&[12]));
        check("12", &[1, 2], Ok(&[12]));
        check("x", &[1], Err("invalid pid: x"));
        check("-1", &[1], Err("invalid pid: -1"));
        check("0", &[1], Err("invalid pid: 0"));
        check("x*", &[1], Err("invalid pid: x"));
        check("", &[7], Ok(&[7]));
        check("", &[], Err("no skein processes running"));
        check("*", &[], Err("no skein processes running"));
        check("", &[7, 8], Err("multiple skein processes running:\n7\n8"));
        check("*", &[7, 8], Ok(&[7, 8]));
        check("12*", &[12, 123, 21], Ok(&[12, 123]));
    }

    #[test]
    fn a_file_names_it() {
        let path = std::env::temp_dir().join(format!("skein-whom-test-{}", std::process::id()));
        fs::write(&path, "4711\n").unwrap();
        assert_eq!(whom(path.to_str().unwrap()), "4711");
        fs::remove_file(&path).unwrap();
        assert_eq!(whom("4711"), "4711");
    }
}

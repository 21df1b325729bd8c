//! The broker as a program: arguments, then `runtime::run`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use skein::config::{self, CommandLineError, Config, ImportOptions, Invocation, Surroundings};
use skein::runtime;
use skein::runtime::import::{Import, Outcome};
use skein::runtime::log::Log;
use skein::runtime::signalling::signal;

fn main() -> ExitCode {
    match config::parse(std::env::args_os().skip(1), &System) {
        Ok(Invocation::Run { config, warnings }) => {
            for warning in warnings {
                eprintln!("{warning}");
            }
            run(&config)
        }
        Ok(Invocation::Import(options)) => import(&options),
        Ok(Invocation::Signal(order)) => match signal(&order) {
            Ok(()) => ExitCode::SUCCESS,
            Err(text) => {
                eprintln!("skein: {text}");
                ExitCode::FAILURE
            }
        },
        Ok(Invocation::Tested(text)) => {
            eprintln!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Help(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Version(text)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("skein: {error}");
            ExitCode::from(CommandLineError::EXIT_CODE)
        }
    }
}

/// The files and the environment of this process.
struct System;

impl Surroundings for System {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| {
            let path = path.display();
            match error.kind() {
                io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
                io::ErrorKind::PermissionDenied => format!("open {path}: permission denied"),
                io::ErrorKind::IsADirectory => format!("read {path}: is a directory"),
                _ => format!("open {path}: {error}"),
            }
        })
    }

    fn variable(&self, name: &str) -> Option<String> {
        // A name that the standard library would not take is no variable.
        match name.is_empty() || name.contains(['=', '\0']) {
            true => None,
            false => std::env::var(name).ok(),
        }
    }
}

/// Moves streams in. Nobody is left to be told of a page that cannot be written.
fn import(options: &ImportOptions) -> ExitCode {
    let moved = Import::of(options).go(&mut io::stderr(), &mut io::stdout());
    match moved {
        Ok(Outcome::Whole) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(2),
        Err(refusal) => {
            eprintln!("skein: {refusal}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config) -> ExitCode {
    let log = match Log::open(config) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("skein: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime::run(config, Box::new(reread), &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What the command line and the file that it names say now.
fn reread() -> Result<(Config, Vec<String>), String> {
    match config::parse(std::env::args_os().skip(1), &System) {
        Ok(Invocation::Run { config, warnings }) => Ok((*config, warnings)),
        Ok(_) => unreachable!("the same arguments have started the server"),
        Err(error) => Err(error.to_string()),
    }
}

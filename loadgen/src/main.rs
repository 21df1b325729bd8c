//! Entry point: exit code 0 for a clean run, 1 if the server failed a check, 2 if the run could not be made.

use std::process::ExitCode;

use clap::Parser;
use loadgen::cli::Cli;
use loadgen::failure::Failure;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            ExitCode::from(if matches!(failure, Failure::Server(_)) {
                1
            } else {
                2
            })
        }
    }
}

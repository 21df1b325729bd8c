//! The broker as a program: arguments, then `runtime::run`.

use std::process::ExitCode;

use skein::config::{self, CommandLineError, Config, Invocation, LIMITS_VARIABLE};
use skein::runtime;
use skein::runtime::log::Log;

fn main() -> ExitCode {
    match config::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(config)) => run(*config),
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

fn run(mut config: Config) -> ExitCode {
    if let Ok(text) = std::env::var(LIMITS_VARIABLE)
        && let Err(error) = config.limits.apply(&text)
    {
        eprintln!("skein: {LIMITS_VARIABLE}: {error}");
        return ExitCode::FAILURE;
    }
    let log = match Log::open(&config) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("skein: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime::run(&config, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

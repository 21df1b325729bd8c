//! The command line → [`Config`], with nats-server's flags and Go's `flag` rules.
//!
//! clap holds the definitions, checks the values and writes the help page, but reads GNU command lines: to it `-DV` is
//! `-D -V` and `-name x` is `-n ame`. So [`read_flags`] goes first. It reads the arguments by Go's rules, looks each
//! flag up in clap's definitions, and hands clap one unambiguous `--long=value` per flag:
//!
//! | given | clap gets |
//! |---|---|
//! | `-p 4222`, `--p=4222`, `-port 4222` | `--port=4222` |
//! | `-DV`, `-T=false` | `--DV`, `--logtime=false` |
//! | `--pass -x` | `--pass=-x` (a value may look like a flag) |
//! | `-D version -x` | `--debug`; flags end at the first argument that is none, here the command `version` |
//!
//! This leaves clap only values to refuse, and [`value_error`] turns that into one line.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use super::file::{self, FileError, Reading, help_tls};
use super::{
    CertificateFiles, Config, ConfigFile, LogFormat, LogOptions, MonitorOptions, Port,
    RemoteSyslog, SHARDS_MAX, SignalOrder, Surroundings, TlsOptions, TlsVersion, parse_cpu_list,
};
use crate::auth::definition::Secret;

mod import;

pub use import::ImportOptions;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub enum Invocation {
    /// Start the server, with these warnings printed on stderr before.
    Run {
        config: Box<Config>,
        warnings: Vec<String>,
    },
    /// Tell a running server something.
    Signal(SignalOrder),
    /// Move the streams of a nats-server in.
    Import(ImportOptions),
    /// Print this line on stderr and exit with 0: the configuration file is valid.
    Tested(String),
    /// Print this on stdout and exit with 0.
    Help(String),
    /// Print this line on stdout and exit with 0.
    Version(String),
}

/// Why a command line was refused. The text is one line that names the flag as it was typed, or what is wrong in a file; `main` prints it on stderr
/// as `skein: TEXT` and exits with [`CommandLineError::EXIT_CODE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLineError {
    /// No such flag, in Skein or nats-server.
    UnknownFlag {
        flag: String,
    },
    /// `---x`, `-=x`: a dash, but no flag.
    BadSyntax {
        argument: String,
    },
    /// The last argument is a flag that wants a value.
    MissingValue {
        flag: String,
    },
    InvalidValue {
        flag: String,
        value: String,
        reason: String,
    },
    /// Values other than paths are text. The value itself is left out: it may be a password.
    NotUtf8 {
        flag: String,
    },
    /// `-t` tests a file, of which there is none.
    NoFileToTest,
    /// One line for each mistake.
    File(FileError),
    /// What was configured contradicts itself.
    Contradiction(String),
    /// TLS is asked for without one of its files, or with one that cannot be read.
    Tls(String),
    /// A flag of nats-server that this build does not have.
    NotSupportedYet {
        flag: String,
    },
    /// `--signal` with a command that there is none of.
    Signal(String),
    /// An argument that is no flag, and neither `help` nor `version`.
    UnknownCommand {
        command: String,
    },
    /// A password without a user protects nothing; nats-server starts, open to everyone.
    PassWithoutUser,
    ShardsDifferFromCpus {
        shards: usize,
        cpus: usize,
    },
}

impl CommandLineError {
    pub const EXIT_CODE: u8 = 1;
}

impl std::error::Error for CommandLineError {}

impl fmt::Display for CommandLineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandLineError::UnknownFlag { flag } => {
                write!(formatter, "flag provided but not defined: {flag}")
            }
            CommandLineError::BadSyntax { argument } => {
                write!(formatter, "bad flag syntax: {argument}")
            }
            CommandLineError::MissingValue { flag } => {
                write!(formatter, "flag needs a value: {flag}")
            }
            CommandLineError::InvalidValue {
                flag,
                value,
                reason,
            } => {
                write!(
                    formatter,
                    "invalid value {value:?} for flag {flag}: {reason}"
                )
            }
            CommandLineError::NotUtf8 { flag } => {
                write!(formatter, "the value of flag {flag} is not UTF-8")
            }
            CommandLineError::NoFileToTest => formatter
                .write_str("must specify [-c, --config] option to check configuration file syntax"),
            CommandLineError::File(error) => error.fmt(formatter),
            CommandLineError::Contradiction(text)
            | CommandLineError::Tls(text)
            | CommandLineError::Signal(text) => formatter.write_str(text),
            CommandLineError::NotSupportedYet { flag } => {
                write!(formatter, "flag not supported yet: {flag}")
            }
            CommandLineError::UnknownCommand { command } => {
                write!(formatter, "unrecognized command: {command:?}")
            }
            CommandLineError::PassWithoutUser => write!(formatter, "flag --pass needs flag --user"),
            CommandLineError::ShardsDifferFromCpus { shards, cpus } => {
                write!(
                    formatter,
                    "flags --shards ({shards}) and --cpus ({cpus} CPUs) name different numbers of shards"
                )
            }
        }
    }
}

/// Reads the arguments that follow the program name, and the configuration file that they name. Flags override it.
///
/// The order is nats-server's: a flag that is wrong in itself is reported even beside `-v`; then `-v`, `-h` and the
/// commands `version` and `help`; only then what does not fit together.
pub fn parse(
    args: impl Iterator<Item = OsString>,
    surroundings: &dyn Surroundings,
) -> Result<Invocation, CommandLineError> {
    let mut args = args.peekable();
    if args.next_if(|first| first == "import").is_some() {
        return import::parse(args, surroundings);
    }
    let mut definitions = definitions();
    definitions.build();
    let given = read_flags(&definitions, args)?;
    let matches = definitions
        .try_get_matches_from_mut(given.flags.iter().map(|flag| &flag.for_clap))
        .map_err(|error| value_error(&error, &given.flags))?;

    if switch(&matches, "version") == Some(true) {
        return Ok(version());
    }
    if switch(&matches, "help") == Some(true) {
        return Ok(help());
    }
    if switch(&matches, "help_tls") == Some(true) {
        return Ok(Invocation::Help(help_tls()));
    }
    match given.command.as_deref().map(OsStr::to_string_lossy) {
        None => {}
        Some(command) if command.eq_ignore_ascii_case("version") => return Ok(version()),
        Some(command) if command.eq_ignore_ascii_case("help") => {
            return Ok(help());
        }
        Some(command) => {
            return Err(CommandLineError::UnknownCommand {
                command: command.into_owned(),
            });
        }
    }
    if let Some(order) = matches.get_one::<String>("signal") {
        let order = SignalOrder::parse(order).map_err(CommandLineError::Signal)?;
        return Ok(Invocation::Signal(order));
    }
    match given.not_supported_yet {
        Some(error) => Err(error),
        None => run_or_test(&matches, surroundings),
    }
}

fn run_or_test(
    matches: &ArgMatches,
    surroundings: &dyn Surroundings,
) -> Result<Invocation, CommandLineError> {
    let is_test = switch(matches, "t") == Some(true);
    let mut reading = match path(matches, "config") {
        Some(path) => file::read(&path, surroundings).map_err(CommandLineError::File)?,
        None if is_test => return Err(CommandLineError::NoFileToTest),
        None => Reading::default(),
    };
    // As in nats-server, a test says what flags do not change, and warnings fail it.
    if !is_test {
        override_with_flags(matches, &mut reading, surroundings)?;
    } else if !reading.warnings.is_empty() {
        return Err(CommandLineError::File(FileError {
            warnings: reading.warnings,
            errors: Vec::new(),
        }));
    }
    let Reading {
        config, warnings, ..
    } = reading;
    config.check().map_err(CommandLineError::Contradiction)?;
    Ok(match config.file {
        Some(ConfigFile { path, digest }) if is_test => Invocation::Tested(format!(
            "skein: configuration file {} is valid ({digest})",
            path.display()
        )),
        _ => Invocation::Run {
            config: Box::new(config),
            warnings,
        },
    })
}

/// Shows switches as `--debug`: that they take `=true` and `=false` matters for `--logtime` alone, which is on.
fn help() -> Invocation {
    let mut shown = definitions().mut_args(|flag| {
        match flag.is_require_equals_set() && flag.get_id() != "logtime" {
            true => flag
                .require_equals(false)
                .num_args(0)
                .action(ArgAction::SetTrue),
            false => flag,
        }
    });
    Invocation::Help(shown.render_help().to_string())
}

fn version() -> Invocation {
    Invocation::Version(concat!("skein: v", env!("CARGO_PKG_VERSION")).to_owned())
}

/// Flags of nats-server that later chapters bring and that take a value.
const LATER_WITH_VALUE: &[&str] = &[
    "cluster",
    "cluster_advertise",
    "cluster_listen",
    "cluster_name",
    "connect_retries",
    "profile",
    "routes",
];

/// Flags of nats-server that later chapters bring and that are switches.
const LATER_SWITCHES: &[&str] = &["no_advertise"];

fn definitions() -> Command {
    Command::new("skein")
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .override_usage("skein [options]\n       skein import [options] DIR")
        .after_help("Flags take one dash or two, and values as `-p 4222` or `-p=4222`.")
        .next_help_heading("Server options")
        .args([
            text_flag("addr", "HOST", "Host to listen on [default: 0.0.0.0]")
                .short('a')
                .visible_alias("net"),
            text_flag(
                "port",
                "PORT",
                "Port for clients, -1 for a free one [default: 4222]",
            )
            .short('p')
            .value_parser(port),
            text_flag("name", "NAME", "Name of this server [default: its id]")
                .short('n')
                .visible_alias("server_name")
                .value_parser(server_name),
            path_flag("pid", "File to write the process id to").short('P'),
            path_flag("config", "Configuration file; flags override it").short('c'),
            switch_flag("t", "Test the configuration file and exit"),
            text_flag(
                "client_advertise",
                "HOST:PORT",
                "Address that clients are told",
            )
            .value_parser(client_advertise),
            path_flag("ports_file_dir", "Folder for a file with the ports taken").value_name("DIR"),
            text_flag(
                "signal",
                "COMMAND",
                "stop, quit, term, reopen, reload, ldm; =PID|FILE",
            )
            .visible_alias("sl"),
            text_flag("shards", "N", "Cores to run on [default: all usable]").value_parser(shards),
            text_flag("cpus", "LIST", "CPU of each shard, as in 0-3,6")
                .value_parser(ValueParser::new(cpus)),
        ])
        .next_help_heading("Monitoring options")
        .args([
            text_flag(
                "http_port",
                "PORT",
                "Port for monitoring by HTTP, -1 for a free one",
            )
            .short('m')
            .value_parser(monitor_port),
            text_flag(
                "https_port",
                "PORT",
                "The same by HTTPS, with the TLS of clients",
            )
            .visible_alias("ms")
            .value_parser(monitor_port),
        ])
        .next_help_heading("Logging options")
        .args([
            path_flag("log", "File to append the log to [default: stderr]").short('l'),
            text_flag(
                "log_size_limit",
                "BYTES",
                "Size at which a new log file is begun",
            )
            .value_parser(|text: &str| text.parse::<u64>().map_err(|_| "expected a number")),
            text_flag(
                "log_format",
                "FORMAT",
                "Lines as text or json [default: text]",
            )
            .value_parser(LogFormat::parse),
            switch_flag("syslog", "Log to the system log").short('s'),
            text_flag(
                "remote_syslog",
                "URL",
                "Log to a system log, as in udp://localhost:514",
            )
            .short('r')
            .value_parser(RemoteSyslog::parse),
            switch_flag("logtime", "Start log lines with the time [default: true]").short('T'),
            switch_flag("logtime_utc", "Log the time in UTC instead of local time"),
            switch_flag("debug", "Log what helps to debug").short('D'),
            switch_flag("trace", "Log the protocol").short('V'),
            switch_flag("VV", "Log the protocol, of the system account too"),
            switch_flag("DV", "-D and -V"),
            switch_flag("DVV", "-D and -VV"),
            text_flag(
                "max_traced_msg_len",
                "BYTES",
                "Bytes of a message that a trace shows",
            )
            .value_parser(|text: &str| text.parse::<usize>().map_err(|_| "expected a number")),
        ])
        .next_help_heading("JetStream options")
        .args([
            switch_flag("jetstream", "Keep streams").visible_alias("js"),
            path_flag("store_dir", "Folder for streams")
                .value_name("DIR")
                .visible_alias("sd"),
        ])
        .next_help_heading("Authorization options")
        .args([
            text_flag("user", "USER", "User name that clients must give"),
            text_flag("pass", "PASSWORD", "Password of that user"),
            text_flag("auth", "TOKEN", "Token that clients must give"),
        ])
        .next_help_heading("TLS options")
        .args([
            switch_flag("tls", "Speak TLS with clients"),
            path_flag("tlscert", "Certificate of this server, with its chain"),
            path_flag("tlskey", "Private key of that certificate"),
            switch_flag("tlsverify", "Clients must present a certificate"),
            path_flag(
                "tlscacert",
                "Authorities that clients' certificates are checked against",
            ),
        ])
        .next_help_heading("Common options")
        .args([
            switch_flag("help", "Show this page").short('h'),
            switch_flag("version", "Show the version").short('v'),
            switch_flag("help_tls", "Show what a TLS block may say"),
        ])
}

fn text_flag(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn path_flag(name: &'static str, help: &'static str) -> Arg {
    text_flag(name, "FILE", help)
        .value_hint(ValueHint::FilePath)
        .value_parser(ValueParser::os_string())
}

/// Go's bool flag: `-D` is `-D=true`, and the next argument is never its value.
fn switch_flag(name: &'static str, help: &'static str) -> Arg {
    text_flag(name, "BOOL", help)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(boolean)
}

/// The command line by Go's rules.
struct Given {
    flags: Vec<Flag>,
    /// The first argument that is no flag; nats-server looks at no further one.
    command: Option<OsString>,
    /// The first flag of a later chapter.
    not_supported_yet: Option<CommandLineError>,
}

struct Flag {
    /// The flag as it was typed, without its value: `-p`.
    typed: String,
    /// How clap names it in an error: `--port <PORT>`.
    clap_name: String,
    /// `--port=4222`
    for_clap: OsString,
}

fn read_flags(
    definitions: &Command,
    mut args: impl Iterator<Item = OsString>,
) -> Result<Given, CommandLineError> {
    let mut given = Given {
        flags: Vec::new(),
        command: None,
        not_supported_yet: None,
    };
    while let Some(argument) = args.next() {
        if argument == "--" {
            given.command = args.next();
            break;
        }
        let Some(name_and_value) = without_dashes(&argument) else {
            given.command = Some(argument);
            break;
        };
        let (name, inline_value) = split_at_equals(name_and_value);
        if name.is_empty() || name.starts_with(b"-") {
            return Err(CommandLineError::BadSyntax {
                argument: one_line(argument.as_bytes()),
            });
        }
        let dashes = argument.len() - name_and_value.len();
        let typed = one_line(&argument.as_bytes()[..dashes + name.len()]);
        let name = str::from_utf8(name).unwrap_or_default();

        let definition = definition_of(definitions, name);
        let takes_value = match definition {
            Some(definition) => !definition.is_require_equals_set(),
            None if LATER_SWITCHES.contains(&name) => false,
            None if LATER_WITH_VALUE.contains(&name) => true,
            None => return Err(CommandLineError::UnknownFlag { flag: typed }),
        };
        let value = match inline_value {
            Some(value) => Some(OsStr::from_bytes(value).to_owned()),
            None if takes_value => {
                Some(args.next().ok_or_else(|| CommandLineError::MissingValue {
                    flag: typed.clone(),
                })?)
            }
            None => None,
        };
        match definition {
            Some(definition) => given.flags.push(flag_for_clap(definition, typed, value)?),
            None => {
                given
                    .not_supported_yet
                    .get_or_insert(CommandLineError::NotSupportedYet { flag: typed });
            }
        }
    }
    Ok(given)
}

/// What follows the one or two dashes of a flag; `None` for an argument that is no flag, such as a lone `-`.
fn without_dashes(argument: &OsStr) -> Option<&[u8]> {
    let after_first = argument
        .as_bytes()
        .strip_prefix(b"-")
        .filter(|rest| !rest.is_empty())?;
    Some(after_first.strip_prefix(b"-").unwrap_or(after_first))
}

fn split_at_equals(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'=') {
        None => (text, None),
        Some(at) => (&text[..at], Some(&text[at + 1..])),
    }
}

fn definition_of<'c>(definitions: &'c Command, name: &str) -> Option<&'c Arg> {
    let is_short = |short: char| name.strip_prefix(short) == Some("");
    definitions.get_arguments().find(|definition| {
        definition.get_long() == Some(name)
            || definition.get_short().is_some_and(is_short)
            || definition
                .get_all_aliases()
                .unwrap_or_default()
                .contains(&name)
    })
}

fn flag_for_clap(
    definition: &Arg,
    typed: String,
    value: Option<OsString>,
) -> Result<Flag, CommandLineError> {
    let mut for_clap = b"--".to_vec();
    for_clap.extend_from_slice(definition.get_id().as_str().as_bytes());
    if let Some(value) = value {
        if definition.get_value_hint() != ValueHint::FilePath && value.to_str().is_none() {
            return Err(CommandLineError::NotUtf8 { flag: typed });
        }
        for_clap.push(b'=');
        for_clap.extend_from_slice(value.as_bytes());
    }
    Ok(Flag {
        typed,
        clap_name: definition.to_string(),
        for_clap: OsString::from_vec(for_clap),
    })
}

/// Text of an argument with nothing in it that would break the line.
fn one_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// clap's error, which after [`read_flags`] is about a value, without clap's page around it.
fn value_error(error: &clap::Error, flags: &[Flag]) -> CommandLineError {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let (clap_name, value) = (
        context(ContextKind::InvalidArg),
        context(ContextKind::InvalidValue),
    );
    let is_this = |flag: &&Flag| {
        flag.clap_name == clap_name
            && split_at_equals(flag.for_clap.as_bytes()).1 == Some(value.as_bytes())
    };
    CommandLineError::InvalidValue {
        flag: flags
            .iter()
            .find(is_this)
            .map_or(clap_name, |flag| &flag.typed)
            .to_owned(),
        value: value.to_owned(),
        reason: error
            .source()
            .map(ToString::to_string)
            .unwrap_or_else(|| error.kind().to_string()),
    }
}

fn override_with_flags(
    matches: &ArgMatches,
    reading: &mut Reading,
    surroundings: &dyn Surroundings,
) -> Result<(), CommandLineError> {
    let config = &mut reading.config;
    set(&mut config.host, text(matches, "addr"));
    set(&mut config.port, matches.get_one("port").copied());
    or_else(&mut config.server_name, text(matches, "name"));
    or_else(
        &mut config.client_advertise,
        text(matches, "client_advertise"),
    );
    or_else(&mut config.pid_file, path(matches, "pid"));
    or_else(&mut config.ports_file_dir, path(matches, "ports_file_dir"));
    override_log(matches, &mut config.log);
    let monitor = &mut config.monitor;
    or_else(&mut monitor.http, given_port(matches, "http_port"));
    or_else(&mut monitor.https, given_port(matches, "https_port"));
    let traced = matches.get_one("max_traced_msg_len").copied();
    set(&mut config.limits.max_traced_bytes, traced);
    override_log_levels(matches, config);
    or_else(&mut config.auth.user, text(matches, "user"));
    or_else(&mut config.auth.pass, text(matches, "pass").map(Secret));
    or_else(&mut config.auth.token, text(matches, "auth").map(Secret));
    if text(matches, "pass").is_some() && config.auth.user.is_none() {
        return Err(CommandLineError::PassWithoutUser);
    }
    set(&mut config.jetstream.enabled, switch(matches, "jetstream"));
    or_else(&mut config.jetstream.store_dir, path(matches, "store_dir"));
    config.cpus = matches.get_one("cpus").cloned();
    config.shards = shards_of(matches)?;
    override_tls(matches, config, surroundings)?;
    if let Some(tls) = &config.tls
        && !reading.is_auth_timeout_given
    {
        config.limits.auth_timeout_ms = tls.timeout_ms.saturating_add(1_000);
    }
    Ok(())
}

fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

fn or_else<T>(place: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *place = given;
    }
}

/// Any of the flags for TLS asks for it and replaces what a file says about certificates; `--tls=false` goes without.
fn override_tls(
    matches: &ArgMatches,
    config: &mut Config,
    surroundings: &dyn Surroundings,
) -> Result<(), CommandLineError> {
    if switch(matches, "tls") == Some(false) {
        config.tls = None;
        config.auth.map_certificates = false;
        return Ok(());
    }
    let flags = ["tls", "tlscert", "tlskey", "tlsverify", "tlscacert"];
    if !flags.iter().any(|flag| matches.contains_id(flag)) {
        return Ok(());
    }
    let missing =
        |what| CommandLineError::Tls(format!("TLS Server {what} must be present and valid"));
    let cert_file = path(matches, "tlscert").ok_or_else(|| missing("certificate"))?;
    let key_file = path(matches, "tlskey").ok_or_else(|| missing("private key"))?;
    let ca_file = path(matches, "tlscacert");
    let unreadable = |path: &PathBuf| surroundings.read(path).err();
    if let Some(error) = [&cert_file, &key_file].into_iter().find_map(unreadable) {
        let text = format!("error parsing X509 certificate/key pair: {error}");
        return Err(CommandLineError::Tls(text));
    }
    if let Some(error) = ca_file.as_ref().and_then(unreadable) {
        return Err(CommandLineError::Tls(error));
    }
    let of_file = config.tls.take().unwrap_or_default();
    config.tls = Some(TlsOptions {
        certificates: vec![CertificateFiles {
            cert_file,
            key_file,
        }],
        ca_file,
        verify: switch(matches, "tlsverify") == Some(true),
        insecure: false,
        min_version: TlsVersion::default(),
        cipher_suites: Vec::new(),
        curve_preferences: Vec::new(),
        // These are no part of what nats-server replaces.
        verify_and_map: of_file.verify_and_map,
        timeout_ms: of_file.timeout_ms,
        handshake_first: of_file.handshake_first,
        pinned_certs: of_file.pinned_certs,
        connection_rate_limit: of_file.connection_rate_limit,
    });
    Ok(())
}

fn override_log(matches: &ArgMatches, log: &mut LogOptions) {
    or_else(&mut log.file, path(matches, "log"));
    let limit = matches.get_one("log_size_limit").copied();
    set(&mut log.file_size_limit, limit);
    set(&mut log.format, matches.get_one("log_format").copied());
    set(&mut log.syslog, switch(matches, "syslog"));
    or_else(
        &mut log.remote_syslog,
        matches.get_one("remote_syslog").cloned(),
    );
    set(&mut log.time, switch(matches, "logtime"));
    set(&mut log.time_utc, switch(matches, "logtime_utc"));
}

/// The combined switches have the last word over `-D` and `-V`, among themselves in this order, wherever they stand:
/// `-DV -D=false` debugs.
fn override_log_levels(matches: &ArgMatches, config: &mut Config) {
    set(&mut config.debug, switch(matches, "debug"));
    set(&mut config.trace, switch(matches, "trace"));
    if let Some(on) = switch(matches, "DV") {
        (config.debug, config.trace) = (on, on);
    }
    if let Some(on) = switch(matches, "DVV") {
        (config.debug, config.trace, config.trace_verbose) = (on, on, on);
    }
    if let Some(on) = switch(matches, "VV") {
        (config.trace, config.trace_verbose) = (on, on);
    }
}

fn shards_of(matches: &ArgMatches) -> Result<Option<usize>, CommandLineError> {
    let shards: Option<usize> = matches.get_one("shards").copied();
    let cpus = matches.get_one("cpus").map(Vec::<usize>::len);
    match (shards, cpus) {
        (Some(shards), Some(cpus)) if shards != cpus => {
            Err(CommandLineError::ShardsDifferFromCpus { shards, cpus })
        }
        _ => Ok(shards.or(cpus)),
    }
}

fn switch(matches: &ArgMatches, name: &str) -> Option<bool> {
    matches.get_one(name).copied()
}

fn text(matches: &ArgMatches, name: &str) -> Option<String> {
    matches
        .get_one(name)
        .filter(|text: &&String| !text.is_empty())
        .cloned()
}

fn path(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches
        .get_one(name)
        .filter(|path: &&OsString| !path.is_empty())
        .map(PathBuf::from)
}

/// Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false"),
    }
}

/// Decimal only: Go would read `010` as 8, and a port of another number than the one typed helps nobody.
fn port(text: &str) -> Result<Port, &'static str> {
    match text.parse() {
        Ok(number) if number == 0 || !has_leading_zero(text) => {
            Port::from_number(number).ok_or(PORT_EXPECTED)
        }
        _ => Err(PORT_EXPECTED),
    }
}

/// The same where 0 says nothing.
fn monitor_port(text: &str) -> Result<Option<Port>, &'static str> {
    match text.parse() {
        Ok(number) if number == 0 || !has_leading_zero(text) => {
            MonitorOptions::port(number).map_err(|()| PORT_EXPECTED)
        }
        _ => Err(PORT_EXPECTED),
    }
}

fn given_port(matches: &ArgMatches, name: &str) -> Option<Port> {
    matches.get_one::<Option<Port>>(name).copied().flatten()
}

fn client_advertise(text: &str) -> Result<String, String> {
    file::split_advertise(text).map(|_| text.to_owned())
}

const PORT_EXPECTED: &str = "expected a port from 1 to 65535, or -1 for a free one";

fn has_leading_zero(number: &str) -> bool {
    number.trim_start_matches(['+', '-']).starts_with('0')
}

fn server_name(text: &str) -> Result<String, &'static str> {
    match text.contains(' ') {
        true => Err("a server name has no spaces"),
        false => Ok(text.to_owned()),
    }
}

fn shards(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|shards| (1..=SHARDS_MAX).contains(shards))
        .ok_or_else(|| format!("expected a number from 1 to {SHARDS_MAX}"))
}

fn cpus(text: &str) -> Result<Vec<usize>, String> {
    parse_cpu_list(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;

//! Which command lines are taken, and what they mean.

use std::num::NonZeroU16;
use std::path::Path;

use super::*;
use crate::auth::definition::AuthDefinition;
use crate::config::JetStreamOptions;

/// Two files, and no environment.
struct Files;

impl Surroundings for Files {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        match path.to_str() {
            Some("a.conf") => Ok(CONFIG.into()),
            Some("warning.conf") => Ok("ping_interval: 5".into()),
            Some("limits.conf") => Ok("max_pending: 1000".into()),
            Some("x.pem") => Ok(Vec::new()),
            _ => Err(format!("open {}: no such file", path.display())),
        }
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

const CONFIG: &str = "port: 5\nhost: file\ndebug: true\nlogtime: false\nserver_name: file\n\
                      authorization { user: u, password: p }\ntls { timeout: 5, verify: true }\n";

fn parse_words(words: &[&str]) -> Result<Invocation, CommandLineError> {
    parse(words.iter().map(OsString::from), &Files)
}

fn started(config: Config) -> Result<Invocation, CommandLineError> {
    Ok(Invocation::Run {
        config: Box::new(config),
        warnings: Vec::new(),
    })
}

fn fixed(port: u16) -> Port {
    Port::Fixed(NonZeroU16::new(port).unwrap())
}

#[test]
fn clap_definitions_hold() {
    definitions().debug_assert();
    for later in LATER_WITH_VALUE.iter().chain(LATER_SWITCHES) {
        assert!(
            definition_of(&definitions(), later).is_none(),
            "{later} is both supported and not"
        );
    }
}

#[test]
fn accepted() {
    #[track_caller]
    fn check(line: &str, expected: Config) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(parse_words(&words), started(expected), "{line}");
    }
    let default = Config::default;
    let named = |name: &str| Config {
        server_name: Some(name.to_owned()),
        ..default()
    };
    check("", default());
    check("--", default());
    let empty = [
        "-a", "", "-n", "", "-P", "", "-l", "", "--user", "", "--pass", "", "--auth", "",
    ];
    assert_eq!(parse_words(&empty), started(default()));

    for line in [
        "-p 5",
        "--p 5",
        "-p=5",
        "--p=5",
        "-port 5",
        "--port=5",
        "-p 4 --port 5",
        "-p +5",
    ] {
        check(
            line,
            Config {
                port: fixed(5),
                ..default()
            },
        );
    }
    check(
        "-js -sd x",
        Config {
            jetstream: JetStreamOptions {
                enabled: true,
                store_dir: Some("x".into()),
                ..JetStreamOptions::default()
            },
            ..default()
        },
    );
    check("--jetstream=false", default());
    check(
        "-p -1",
        Config {
            port: Port::PickFree,
            ..default()
        },
    );
    check(
        "--port=-1",
        Config {
            port: Port::PickFree,
            ..default()
        },
    );
    check("-p 0", default());
    check(
        "-p 65535",
        Config {
            port: fixed(65535),
            ..default()
        },
    );

    for line in ["-a ::1", "--addr ::1", "-net ::1", "--net=::1"] {
        check(
            line,
            Config {
                host: "::1".to_owned(),
                ..default()
            },
        );
    }
    check("-a=", default());
    for line in [
        "-n s1",
        "-name s1",
        "--name=s1",
        "--server_name s1",
        "-server_name=s1",
    ] {
        check(line, named("s1"));
    }
    check("-n -D", named("-D"));
    check("-n --", named("--"));
    check("-n=a=b", named("a=b"));
    check("-n a -n=", default());
    for line in ["-P /tmp/p", "--pid=/tmp/p"] {
        check(
            line,
            Config {
                pid_file: Some("/tmp/p".into()),
                ..default()
            },
        );
    }
    for line in ["-l x.log", "-log x.log", "--log=x.log"] {
        check(
            line,
            Config {
                log: LogOptions {
                    file: Some("x.log".into()),
                    ..LogOptions::default()
                },
                ..default()
            },
        );
    }

    for line in [
        "-D",
        "--debug",
        "-debug=1",
        "-D=false -D=t",
        "-DVV -VV=0",
        "-VV=0 -DVV",
    ] {
        check(
            line,
            Config {
                debug: true,
                ..default()
            },
        );
    }
    check("-D -D=false", default());
    check("-D -DV=false", default());
    for line in ["-V", "--trace", "-trace=TRUE"] {
        check(
            line,
            Config {
                trace: true,
                ..default()
            },
        );
    }
    for line in ["-DV", "--DV", "-D -V", "-DV -D=false"] {
        check(
            line,
            Config {
                debug: true,
                trace: true,
                ..default()
            },
        );
    }
    check(
        "-VV",
        Config {
            trace: true,
            trace_verbose: true,
            ..default()
        },
    );
    for line in ["-DVV", "-D --VV"] {
        check(
            line,
            Config {
                debug: true,
                trace: true,
                trace_verbose: true,
                ..default()
            },
        );
    }
    for line in ["-T=false", "--logtime=F", "-T=0", "-T -logtime=False"] {
        check(
            line,
            Config {
                log: LogOptions {
                    time: false,
                    ..LogOptions::default()
                },
                ..default()
            },
        );
    }
    check("-T", default());
    check(
        "--logtime_utc",
        Config {
            log: LogOptions {
                time_utc: true,
                ..LogOptions::default()
            },
            ..default()
        },
    );

    check(
        "--user a",
        Config {
            auth: AuthDefinition {
                user: Some("a".to_owned()),
                ..AuthDefinition::default()
            },
            ..default()
        },
    );
    check(
        "-user a -pass -p",
        Config {
            auth: AuthDefinition {
                user: Some("a".to_owned()),
                pass: Some(Secret("-p".to_owned())),
                ..AuthDefinition::default()
            },
            ..default()
        },
    );
    check("--pass=", default());
    check(
        "-auth t",
        Config {
            auth: AuthDefinition {
                token: Some(Secret("t".to_owned())),
                ..AuthDefinition::default()
            },
            ..default()
        },
    );
    check(
        "--auth t --user a",
        Config {
            auth: AuthDefinition {
                token: Some(Secret("t".to_owned())),
                user: Some("a".to_owned()),
                ..AuthDefinition::default()
            },
            ..default()
        },
    );

    check(
        "--shards 64",
        Config {
            shards: Some(64),
            ..default()
        },
    );
    for line in ["--cpus 0-1,6", "-cpus=0-1,6 -shards=3"] {
        check(
            line,
            Config {
                shards: Some(3),
                cpus: Some(vec![0, 1, 6]),
                ..default()
            },
        );
    }
    check("-h=false -v=0", default());
}

#[test]
fn help_and_version() {
    #[track_caller]
    fn check(line: &str, is_expected: fn(&Invocation) -> bool) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let invocation = parse_words(&words).unwrap();
        assert!(is_expected(&invocation), "{line}: {invocation:?}");
    }
    let is_version = |invocation: &Invocation| match invocation {
        Invocation::Version(text) => text == concat!("skein: v", env!("CARGO_PKG_VERSION")),
        _ => false,
    };
    let is_help = |invocation: &Invocation| matches!(invocation, Invocation::Help(_));
    for line in [
        "-v",
        "--version",
        "-version",
        "version",
        "VERSION",
        "-v -h",
        "version -x",
        "-js -m 1 -v",
        "-v foo",
    ] {
        check(line, is_version);
    }
    for line in [
        "-h",
        "--help",
        "-help=true",
        "help",
        "Help",
        "-D help",
        "-p 1 -- help x",
        "-c x.conf help",
    ] {
        check(line, is_help);
    }
}

#[test]
fn flags_override_the_file() {
    let run = |line: &str| -> Config {
        match parse_words(&line.split_whitespace().collect::<Vec<_>>()) {
            Ok(Invocation::Run { config, .. }) => *config,
            other => panic!("{line}: {other:?}"),
        }
    };
    let of_file = run("-c a.conf");
    let file = of_file.file.clone().unwrap();
    assert_eq!(file.path, Path::new("a.conf"));
    assert_eq!((of_file.port, of_file.host.as_str()), (fixed(5), "file"));
    assert!(of_file.debug && !of_file.log.time);
    assert_eq!(of_file.limits.auth_timeout_ms, 6_000);

    let same = |line: &str, change: &dyn Fn(&mut Config)| {
        let mut expected = run("-c a.conf");
        change(&mut expected);
        assert_eq!(run(line), expected, "{line}");
    };
    same("--config=a.conf", &|_| {});
    same("-c a.conf -p 6", &|config| config.port = fixed(6));
    same("-a flag -c a.conf", &|config| {
        config.host = "flag".to_owned()
    });
    same("-c a.conf -D=false -T", &|config| {
        (config.debug, config.log.time) = (false, true);
    });
    same("-c a.conf -VV", &|config| {
        (config.trace, config.trace_verbose) = (true, true);
    });
    same("-c a.conf --user x", &|config| {
        config.auth.user = Some("x".to_owned())
    });
    same("-c a.conf --user x --pass y", &|config| {
        config.auth.user = Some("x".to_owned());
        config.auth.pass = Some(Secret("y".to_owned()));
    });
    same("-c a.conf --pass y", &|config| {
        config.auth.pass = Some(Secret("y".to_owned()));
    });
    same("-c a.conf -n x --client_advertise y:1 -P z", &|config| {
        config.server_name = Some("x".to_owned());
        config.client_advertise = Some("y:1".to_owned());
        config.pid_file = Some("z".into());
    });
    same("-c a.conf --tls=false --tlscert nowhere", &|config| {
        config.tls = None;
        config.limits.auth_timeout_ms = 2_000;
    });
    same("-c a.conf --tlscert x.pem --tlskey x.pem", &|config| {
        let tls = config.tls.as_mut().unwrap();
        tls.verify = false;
        tls.certificates = vec![CertificateFiles {
            cert_file: "x.pem".into(),
            key_file: "x.pem".into(),
        }];
    });
    let tls = run("--tlscert x.pem --tlskey x.pem --tlsverify --tlscacert x.pem");
    assert_eq!(tls.limits.auth_timeout_ms, 3_000);
    let tls = tls.tls.unwrap();
    assert!(tls.verify && tls.ca_file.is_some());
}

#[test]
fn files_tested() {
    for line in ["-c a.conf -t", "-t --config a.conf -p 7"] {
        let words: Vec<_> = line.split_whitespace().collect();
        let Ok(Invocation::Tested(text)) = parse_words(&words) else {
            panic!("{line}");
        };
        let start = "skein: configuration file a.conf is valid (sha256:";
        assert!(text.starts_with(start), "{text}");
    }
    let Ok(Invocation::Run { warnings, .. }) = parse_words(&["-c", "warning.conf"]) else {
        panic!("a warning keeps it from starting");
    };
    assert_eq!(warnings.len(), 1);
}

#[test]
fn help_page_names_every_flag() {
    let Ok(Invocation::Help(page)) = parse_words(&["-h"]) else {
        panic!("no help")
    };
    for flag in [
        "-a, --addr <HOST>",
        "net",
        "-p, --port <PORT>",
        "-n, --name <NAME>",
        "server_name",
        "-P, --pid <FILE>",
        "-l, --log <FILE>",
        "-T, --logtime[=<BOOL>]",
        "--logtime_utc",
        "-c, --config <FILE>",
        "--t ",
        "--tlscert <FILE>",
        "--help_tls",
        "-D, --debug",
        "-V, --trace",
        "--VV",
        "--DV",
        "--DVV",
        "--user <USER>",
        "--pass <PASSWORD>",
        "--auth <TOKEN>",
        "--shards <N>",
        "--cpus <LIST>",
        "-h, --help",
        "-v, --version",
    ] {
        assert!(page.contains(flag), "{flag} is not in\n{page}");
    }
    assert_eq!(page.matches("[=<BOOL>]").count(), 1, "{page}");
    assert!(!page.contains('\x1b'), "{page:?}");
    assert!(page.lines().all(|line| line.len() <= 100), "{page}");
}

#[test]
fn refused() {
    #[track_caller]
    fn check(words: &[&str], expected: &str) {
        match parse_words(words) {
            Ok(invocation) => panic!("{words:?} was taken as {invocation:?}"),
            Err(error) => assert_eq!(error.to_string(), expected, "{words:?}"),
        }
    }
    check(&["-x"], "flag provided but not defined: -x");
    check(&["--nosuch=3"], "flag provided but not defined: --nosuch");
    check(&["-pfoo"], "flag provided but not defined: -pfoo");
    check(&["-VD"], "flag provided but not defined: -VD");
    check(&["-PORT", "1"], "flag provided but not defined: -PORT");
    check(&["-v", "-x"], "flag provided but not defined: -x");
    check(&["-a\nb"], "flag provided but not defined: -a\\nb");
    check(&["---x"], "bad flag syntax: ---x");
    check(&["-=3"], "bad flag syntax: -=3");
    check(&["--=3"], "bad flag syntax: --=3");

    check(&["-p"], "flag needs a value: -p");
    check(&["-D", "--name"], "flag needs a value: --name");
    check(&["-c"], "flag needs a value: -c");
    for port in [
        "abc",
        "70000",
        "65536",
        "-2",
        "",
        "99999999999999999999",
        "04222",
        "0x10",
        "1.5",
    ] {
        let expected = "expected a port from 1 to 65535, or -1 for a free one";
        check(
            &["-p", port],
            &format!("invalid value {port:?} for flag -p: {expected}"),
        );
        check(
            &["-p", "1", &format!("--port={port}")],
            &format!("invalid value {port:?} for flag --port: {expected}"),
        );
    }
    check(
        &["-D=maybe"],
        "invalid value \"maybe\" for flag -D: expected true or false",
    );
    check(
        &["-T="],
        "invalid value \"\" for flag -T: expected true or false",
    );
    check(
        &["-name", "a b"],
        "invalid value \"a b\" for flag -name: a server name has no spaces",
    );
    for shards in ["0", "65", "-1", "x", ""] {
        let expected =
            format!("invalid value {shards:?} for flag --shards: expected a number from 1 to 64");
        check(&["--shards", shards], &expected);
    }
    check(
        &["--cpus", "3-1"],
        "invalid value \"3-1\" for flag --cpus: the range 3-1 is reversed",
    );
    check(
        &["--cpus", "1,1"],
        "invalid value \"1,1\" for flag --cpus: CPU 1 is listed twice",
    );
    check(
        &["--cpus="],
        "invalid value \"\" for flag --cpus: a CPU number is missing; a list looks like 0-3,6",
    );
    check(
        &["--cpus", "0-3", "--shards", "2"],
        "flags --shards (2) and --cpus (4 CPUs) name different numbers of shards",
    );

    check(&["foo"], "unrecognized command: \"foo\"");
    check(&["foo", "help"], "unrecognized command: \"foo\"");
    check(&["-D", "false"], "unrecognized command: \"false\"");
    check(&["-", "-x"], "unrecognized command: \"-\"");
    check(&["--", "-p"], "unrecognized command: \"-p\"");
    check(&[""], "unrecognized command: \"\"");
    check(&["--pass", "x"], "flag --pass needs flag --user");
    check(
        &["--pass", "x", "--auth", "t"],
        "flag --pass needs flag --user",
    );

    check(&["-c", "x.conf"], "open x.conf: no such file");
    check(
        &["-t"],
        "must specify [-c, --config] option to check configuration file syntax",
    );
    check(
        &["-c", "limits.conf"],
        "max_payload (1048576) cannot be higher than max_pending (1000)",
    );
    check(
        &["-c", "warning.conf", "-t"],
        "warning.conf:1:0: invalid use of field \"ping_interval\": ping_interval should be converted to a duration",
    );
    let cert = "TLS Server certificate must be present and valid";
    let key = "TLS Server private key must be present and valid";
    check(&["--tls"], cert);
    check(&["--tlskey", "x.pem"], cert);
    check(&["--tlsverify"], cert);
    check(&["--tlscert", "x.pem"], key);
    check(
        &["--tlscert", "x.pem", "--tlskey", "y.pem"],
        "error parsing X509 certificate/key pair: open y.pem: no such file",
    );
    check(
        &[
            "--tlscert",
            "x.pem",
            "--tlskey",
            "x.pem",
            "--tlscacert",
            "z.pem",
        ],
        "open z.pem: no such file",
    );
    check(
        &["--client_advertise", "a:b"],
        "invalid value \"a:b\" for flag --client_advertise: could not parse address string \"a:b\"",
    );
    check(
        &["--max_traced_msg_len", "-1"],
        "invalid value \"-1\" for flag --max_traced_msg_len: expected a number",
    );
    for flag in LATER_WITH_VALUE {
        check(
            &[&format!("--{flag}"), "1", "-js"],
            &format!("flag not supported yet: --{flag}"),
        );
        check(
            &[&format!("-{flag}")],
            &format!("flag needs a value: -{flag}"),
        );
    }
    for flag in LATER_SWITCHES {
        check(
            &[&format!("-{flag}"), "-js"],
            &format!("flag not supported yet: -{flag}"),
        );
        check(
            &[&format!("-{flag}=false")],
            &format!("flag not supported yet: -{flag}"),
        );
    }
}

#[test]
fn values_that_are_not_utf8() {
    let bad = OsString::from_vec(b"a\xff".to_vec());
    let two = |flag: &str| parse([OsString::from(flag), bad.clone()].into_iter(), &Files);
    assert_eq!(
        two("--pass"),
        Err(CommandLineError::NotUtf8 {
            flag: "--pass".to_owned()
        })
    );
    assert_eq!(
        two("-p"),
        Err(CommandLineError::NotUtf8 {
            flag: "-p".to_owned()
        })
    );
    let expected = Config {
        log: LogOptions {
            file: Some(PathBuf::from(bad.clone())),
            ..LogOptions::default()
        },
        ..Config::default()
    };
    assert_eq!(two("-l"), started(expected));
    let flag = OsString::from_vec(b"-\xff".to_vec());
    assert_eq!(
        parse([flag].into_iter(), &Files),
        Err(CommandLineError::UnknownFlag {
            flag: "-\u{fffd}".to_owned()
        })
    );
}

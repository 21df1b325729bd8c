//! `skein import`: the command line of moving in.
//!
//! Its flags follow the server's rules; the folder may stand before, among or behind them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Command;

use super::{
    CommandLineError, Config, Invocation, Surroundings, or_else, path, path_flag, read_flags,
    shards, switch, switch_flag, text, text_flag, value_error,
};
use crate::auth::definition::Secret;
use crate::config::file;

/// What is to be moved in, and where to.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportOptions {
    /// The folder of a nats-server.
    pub source: PathBuf,
    /// What it is encrypted with; what the configuration says, too.
    pub keys: Vec<Secret>,
    /// Where to, how encrypted, and for how many shards, if that is said.
    pub config: Box<Config>,
    /// Whether streams are moved of which something is missing or damaged.
    pub salvage: bool,
}

fn definitions() -> Command {
    Command::new("skein import")
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .override_usage("skein import [options] DIR")
        .about(
            "Moves the streams of a nats-server (2.10 or later) into the store of a Skein server.\n\
             Both have to be stopped. DIR is the `store_dir` of the nats-server; it is only read.",
        )
        .after_help(
            "Exit codes: 0 everything was moved and verified; 1 nothing was moved; 2 something was \
             left out, or is damaged.",
        )
        .args([
            path_flag("store_dir", "Where to: the `store_dir` of the Skein server")
                .value_name("DIR")
                .visible_alias("sd"),
            path_flag("config", "Its configuration file, for where to and keys").short('c'),
            text_flag("key", "KEY", "What DIR is encrypted with"),
            text_flag("prev_key", "KEY", "What it was encrypted with before"),
            text_flag(
                "shards",
                "N",
                "Shards of the Skein server [default: one per CPU]",
            )
            .value_parser(shards),
            switch_flag("salvage", "Move what there is of damaged streams, too"),
            switch_flag("help", "Show this page").short('h'),
        ])
}

/// Reads the arguments behind `import`.
pub fn parse(
    mut args: impl Iterator<Item = OsString>,
    surroundings: &dyn Surroundings,
) -> Result<Invocation, CommandLineError> {
    let mut definitions = definitions();
    definitions.build();
    let (mut flags, mut source) = (Vec::new(), None);
    loop {
        let given = read_flags(&definitions, &mut args)?;
        flags.extend(given.flags);
        if let Some(error) = given.not_supported_yet {
            return Err(error);
        }
        match (given.command, &source) {
            (None, _) => break,
            (Some(folder), None) => source = Some(folder),
            (Some(other), Some(_)) => {
                let command = other.to_string_lossy().into_owned();
                return Err(CommandLineError::UnknownCommand { command });
            }
        }
    }
    let matches = definitions
        .try_get_matches_from_mut(flags.iter().map(|flag| &flag.for_clap))
        .map_err(|error| value_error(&error, &flags))?;
    if switch(&matches, "help") == Some(true) {
        return Ok(Invocation::Help(definitions.render_help().to_string()));
    }
    let contradiction = |text: &str| CommandLineError::Contradiction(text.to_owned());
    let source = source.ok_or_else(|| contradiction("import needs a folder to import from"))?;
    let mut config = match path(&matches, "config") {
        Some(path) => {
            let reading = file::read(&path, surroundings).map_err(CommandLineError::File)?;
            reading.config
        }
        None => Config::default(),
    };
    or_else(&mut config.jetstream.store_dir, path(&matches, "store_dir"));
    or_else(&mut config.shards, matches.get_one("shards").copied());
    if config.jetstream.store_dir.is_none() {
        let text =
            "import needs a store to import into: -sd DIR, or a configuration with store_dir";
        return Err(contradiction(text));
    }
    let given = [text(&matches, "key"), text(&matches, "prev_key")].into_iter();
    let jetstream = &config.jetstream;
    let configured = [jetstream.key.clone(), jetstream.previous_key.clone()];
    let keys = given.map(|key| key.map(Secret)).chain(configured);
    Ok(Invocation::Import(ImportOptions {
        source: source.into(),
        keys: keys.flatten().collect(),
        config: Box::new(config),
        salvage: switch(&matches, "salvage") == Some(true),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// One file, `a.conf`.
    struct Files;

    impl Surroundings for Files {
        fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
            match path.to_str() {
                Some("a.conf") => Ok(b"jetstream { store_dir: \"/a\", key: \"k\" }".to_vec()),
                _ => Err(format!(
                    "open {}: no such file or directory",
                    path.display()
                )),
            }
        }

        fn variable(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn parsed(arguments: &str) -> Result<ImportOptions, String> {
        let arguments = std::iter::once("import").chain(arguments.split_whitespace());
        match super::super::parse(arguments.map(OsString::from), &Files) {
            Ok(Invocation::Import(options)) => Ok(options),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_folder_and_the_flags_stand_in_any_order() {
        for arguments in [
            "/from -sd /to --key one -prev_key=two --shards 3 --salvage",
            "--salvage -store_dir=/to --key one /from --prev_key two -shards=3",
        ] {
            let options = parsed(arguments).expect("it is right");
            assert_eq!(options.source, Path::new("/from"));
            assert_eq!(
                options.config.jetstream.store_dir.as_deref(),
                Some(Path::new("/to"))
            );
            assert_eq!(options.config.shards, Some(3));
            assert_eq!(options.keys, [Secret("one".into()), Secret("two".into())]);
            assert!(options.salvage);
        }
        let options = parsed("-c a.conf /from --key one").expect("it is right");
        assert_eq!(
            options.config.jetstream.store_dir.as_deref(),
            Some(Path::new("/a"))
        );
        assert_eq!(options.keys, [Secret("one".into()), Secret("k".into())]);
        assert!(!options.salvage);
        let options = parsed("-c a.conf /from -sd /b").expect("it is right");
        assert_eq!(
            options.config.jetstream.store_dir.as_deref(),
            Some(Path::new("/b"))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (arguments, expected) in [
            ("", "import needs a folder to import from"),
            ("/from", "import needs a store to import into"),
            ("/from /other -sd /to", "unrecognized command: \"/other\""),
            ("/from -sd", "flag needs a value: -sd"),
            ("/from -sd /to -p 1", "flag provided but not defined: -p"),
            ("/from -sd /to --shards 0", "expected a number from 1"),
            ("/from -c b.conf", "no such file"),
        ] {
            let error = parsed(arguments).expect_err("it is wrong");
            assert!(error.contains(expected), "{arguments}: {error}");
        }
        assert!(parsed("-h").is_err_and(|help| help.contains("Exit codes")));
    }
}

//! `--signal`: what a running server is told from the command line.

/// What to tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalCommand {
    /// End at once (SIGKILL).
    Stop,
    /// End (SIGINT).
    Quit,
    /// End, unless it is in lame duck mode (SIGTERM).
    Term,
    /// Open the log file anew (SIGUSR1).
    Reopen,
    /// Read the configuration again (SIGHUP).
    Reload,
    /// Enter lame duck mode (SIGUSR2).
    LameDuck,
}

/// `COMMAND` or `COMMAND=WHOM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalOrder {
    pub command: SignalCommand,
    /// A process id, the beginning of some with a `*` behind it, or a file with one of these; empty
    /// for the one server that there is.
    pub whom: String,
}

impl SignalCommand {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Quit => "quit",
            Self::Term => "term",
            Self::Reopen => "reopen",
            Self::Reload => "reload",
            Self::LameDuck => "ldm",
        }
    }
}

impl SignalOrder {
    /// Reads the value of the flag.
    ///
    /// # Errors
    /// There is no such command; the text is nats-server's.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (command, whom) = text.split_once('=').unwrap_or((text, ""));
        let all = [
            SignalCommand::Stop,
            SignalCommand::Quit,
            SignalCommand::Term,
            SignalCommand::Reopen,
            SignalCommand::Reload,
            SignalCommand::LameDuck,
        ];
        let command = all
            .into_iter()
            .find(|known| known.name() == command)
            .ok_or_else(|| format!("unknown signal {command:?}"))?;
        Ok(Self {
            command,
            whom: whom.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        let check = |text: &str, expected: Result<(&str, &str), &str>| {
            let parsed = SignalOrder::parse(text);
            let parsed = parsed
                .as_ref()
                .map(|order| (order.command.name(), order.whom.as_str()))
                .map_err(String::as_str);
            assert_eq!(parsed, expected, "{text}");
        };
        for name in ["stop", "quit", "term", "reopen", "reload", "ldm"] {
            check(name, Ok((name, "")));
        }
        check("reload=12", Ok(("reload", "12")));
        check("ldm=/run/skein.pid", Ok(("ldm", "/run/skein.pid")));
        check("quit=a=b", Ok(("quit", "a=b")));
        check("reload=", Ok(("reload", "")));
        check("Reload", Err("unknown signal \"Reload\""));
        check("", Err("unknown signal \"\""));
    }
}

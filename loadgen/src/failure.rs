//! Why a run ended early: a wrong request, the world (sockets, files, processes), or the server breaking the protocol.

use std::fmt;
use std::io;

pub type Result<T> = std::result::Result<T, Failure>;

#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something that cannot be run.
    Usage(String),
    /// The operating system refused something.
    World { doing: String, error: io::Error },
    /// The server sent `-ERR`, closed the connection, or spoke something that is not the NATS protocol.
    Server(String),
}

impl Failure {
    pub fn usage(text: impl Into<String>) -> Self {
        Failure::Usage(text.into())
    }

    pub fn server(text: impl Into<String>) -> Self {
        Failure::Server(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) => write!(formatter, "{text}"),
            Failure::World { doing, error } => write!(formatter, "{doing}: {error}"),
            Failure::Server(text) => write!(formatter, "the server {text}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Says what was being done when the operating system refused.
pub trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::World {
            doing: what(),
            error,
        })
    }
}

//! How a command ends: the exit codes that `--help` documents, and nothing else.

use std::borrow::Cow;
use std::process::ExitCode;

/// What the help of every command ends with.
pub(super) const AFTER_HELP: &str = "Exit codes, units and environment variables: swarm --help";

/// The end of a command.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// What was asked for is done.
    Done,
    /// Something failed; the error was printed. 1.
    Failed,
    /// The options contradict each other. 2, as clap has it for what it cannot understand.
    Usage,
    /// Part of it is done and the rest may be had later: `get` gave up waiting, `seed` skipped a torrent. 3.
    Partial,
    /// Ctrl-C came before the end. 130, as shells have it (128 + SIGINT).
    Interrupted,
}

impl Exit {
    /// The number for the operating system.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Options that cannot be had together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(Cow<'static, str>);

impl Usage {
    /// With what to do instead.
    pub(super) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

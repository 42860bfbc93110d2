//! How a command ended, as scripts see it.

use crate::model::state::DRILL_OVER;
use crate::model::{Clean, Status};
use std::process::{ExitCode, Termination};

/// A documented exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: rolled back or failed.
    RolledBack,
    /// 2: held or inconclusive.
    Held,
    /// 3: refused.
    Refused,
    /// 64: used wrongly.
    Usage,
    /// 69: no engine answers.
    Unreachable,
    /// 73: somebody else holds the lock.
    Locked,
    /// 78: the configuration is wrong.
    Config,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::RolledBack => 1,
            Self::Held => 2,
            Self::Refused => 3,
            Self::Usage => 64,
            Self::Unreachable => 69,
            Self::Locked => 73,
            Self::Config => 78,
        }
    }

    /// What a rollout's end means for whoever waited for it. A drill is meant to be taken back.
    pub(super) fn of(status: Status, because: &str) -> Self {
        match status {
            Status::Succeeded => Self::Done,
            Status::RolledBack if because == DRILL_OVER => Self::Done,
            Status::Failed | Status::RolledBack => Self::RolledBack,
            Status::Pending | Status::InProgress => Self::Held,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// Why a command could not do its work: a text for people, empty when they were told already, and
/// a code for scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) text: Clean,
}

impl Failure {
    pub(super) fn new(exit: Exit, text: impl AsRef<str>) -> Self {
        Self {
            exit,
            text: Clean::new(text.as_ref()),
        }
    }

    /// For what people were told already.
    pub(super) fn told(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// From an error with all its causes.
    pub(super) fn because(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Self::new(exit, text)
    }
}

/// What commands return.
pub(super) type Ended = Result<Exit, Failure>;

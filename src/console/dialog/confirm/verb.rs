//! What can be asked of a placement, and the command behind it.

use crate::link::wire::CommandRequest;
use crate::model::command::PromoteTo;
use crate::model::{Clean, Placement, ServerName, Urgency, Version};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it.
pub enum Verb {
    Promote(PromoteTo),
    Hold,
    Resume,
    Abort,
    Rollback(Option<Version>),
    Emergency { to: Option<Version>, reason: Clean },
    Restart,
    Scale(u32),
    Drain(ServerName),
    Undrain(ServerName),
    Drill,
}

impl Verb {
    /// The verb as people type it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Promote(_) => "promote",
            Self::Hold => "hold",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Rollback(_) | Self::Emergency { .. } => "rollback",
            Self::Restart => "restart",
            Self::Scale(_) => "scale",
            Self::Drain(_) => "drain",
            Self::Undrain(_) => "undrain",
            Self::Drill => "drill",
        }
    }

    /// Abort and hold must work from the smallest terminal and without knowing more.
    pub fn is_urgent(&self) -> bool {
        matches!(self, Self::Abort | Self::Hold)
    }

    pub(super) fn command(&self, placement: &Placement, revision: u64) -> CommandRequest {
        let placement = placement.clone();
        match self.clone() {
            Self::Promote(to) => CommandRequest::Promote {
                placement,
                to,
                revision,
            },
            Self::Hold => CommandRequest::Hold {
                placement,
                reason: None,
            },
            Self::Resume => CommandRequest::Resume {
                placement,
                revision,
            },
            Self::Abort => CommandRequest::Abort {
                placement,
                reason: None,
            },
            Self::Rollback(to) => CommandRequest::Rollback {
                placement,
                to,
                reason: None,
                urgency: Urgency::Ordinary,
            },
            Self::Emergency { to, reason } => CommandRequest::Rollback {
                placement,
                to,
                reason: Some(reason),
                urgency: Urgency::Emergency,
            },
            Self::Restart => CommandRequest::Restart {
                placement,
                reason: None,
            },
            Self::Scale(instances) => CommandRequest::Scale {
                placement,
                instances,
                reason: None,
            },
            Self::Drain(server) => CommandRequest::Drain {
                placement,
                server,
                reason: None,
            },
            Self::Undrain(server) => CommandRequest::Undrain { placement, server },
            Self::Drill => CommandRequest::Drill {
                placement,
                reason: None,
            },
        }
    }
}

//! What of a release is still to be had where it would run: what a rollback to it depends on.

use super::Clean;
use serde::{Deserialize, Serialize};

/// How a release's image or program stands on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stock", rename_all = "snake_case")]
pub enum Stock {
    /// It is there.
    Here,
    /// It is not there, and its registry has it.
    Pull {
        /// Of its layers, compressed: at most what is loaded; `None` where nobody said.
        bytes: Option<u64>,
    },
    /// It is not there, and nowhere to be had: the release cannot be begun anew here.
    Gone {
        /// What was found out.
        why: Clean,
    },
    /// That could not be found out.
    Unknown {
        /// Why.
        why: Clean,
    },
}

impl Stock {
    /// Nobody could say, and why.
    pub fn unknown(why: &str) -> Self {
        Self::Unknown {
            why: Clean::new(why),
        }
    }
}

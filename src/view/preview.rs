//! What a command would do, in words: the text of a confirm dialog and of `--dry-run`.

use crate::model::{Clean, Placement, Refusal, RolloutNumber};
use serde::{Deserialize, Serialize};

/// How a command must be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// One key and `y`.
    One,
    /// Type the environment's name.
    Two,
}

/// One labelled line of a preview.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewLine {
    /// "This will", "Checks", "Undo"; empty for a line that continues the one before.
    pub label: Clean,
    /// The text.
    pub text: Clean,
}

/// What a command would do now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// Where.
    pub placement: Placement,
    /// The verb, as people type it.
    pub verb: Clean,
    /// "PROMOTE canary to 25% - PRODUCTION"
    pub title: Clean,
    /// What the button says: "Shift 10% -> 25%".
    pub button: Clean,
    /// How it must be confirmed.
    pub tier: Tier,
    /// The rollout it concerns; `None` for one that would begin.
    pub number: Option<RolloutNumber>,
    /// The revision it was made at; promote and resume carry it.
    pub revision: u64,
    /// What would happen, up to the next wait.
    pub lines: Vec<PreviewLine>,
    /// What a careful person should know first.
    pub warnings: Vec<Clean>,
    /// Why it would be refused; `None` when it would be done.
    pub refused: Option<Refusal>,
    /// Every effect to the end of the rollout, in order, in the words of the real systems.
    pub effects: Vec<Clean>,
}

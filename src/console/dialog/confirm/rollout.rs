//! What is asked of a placement: in the engine's words, bound to a rollout and its revision.

use super::{Said, Seen, Verb};
use crate::link::wire::CommandRequest;
use crate::model::{Placement, RolloutId, RolloutNumber};
use crate::view::snapshot::RolloutView;
use crate::view::{Preview, Snapshot, Tier};

/// What is asked of a placement.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutAsk {
    /// What is asked for.
    pub verb: Verb,
    /// Where.
    pub placement: Placement,
    /// The rollout it was opened for; `None` where none was open.
    pub rollout: Option<(RolloutId, RolloutNumber)>,
    /// What the engine says it would do.
    pub preview: Option<Box<Preview>>,
    /// The revision it binds.
    revision: u64,
}

impl RolloutAsk {
    pub(super) fn new(verb: Verb, placement: Placement, open: Option<&RolloutView>) -> Self {
        Self {
            verb,
            placement,
            rollout: open.map(|rollout| (rollout.id, rollout.number)),
            preview: None,
            revision: open.map_or(0, |rollout| rollout.revision),
        }
    }

    pub(super) fn subject(&self) -> String {
        let number = self.rollout.map(|(_, number)| number.to_string());
        number.unwrap_or_else(|| self.placement.to_string())
    }

    pub(super) fn title(&self) -> String {
        match &self.preview {
            Some(preview) => preview.title.to_string(),
            None => {
                let environment = self.placement.environment.as_str().to_uppercase();
                let verb = self.verb.word().to_uppercase();
                format!("{verb} - {} {environment}", self.placement.service)
            }
        }
    }

    pub(super) fn button(&self) -> String {
        let text = self
            .preview
            .as_ref()
            .map(|preview| preview.button.to_string());
        text.unwrap_or_else(|| self.verb.word().to_owned())
    }

    pub(super) fn said(&self) -> Option<Said<'_>> {
        let preview = self.preview.as_ref()?;
        Some(Said {
            lines: &preview.lines,
            warnings: &preview.warnings,
            refused: preview.refused.as_ref().map(ToString::to_string),
        })
    }

    pub(super) fn preview_of(&self) -> CommandRequest {
        self.verb.command(&self.placement, self.revision)
    }

    pub(super) fn command(&self) -> CommandRequest {
        let preview = self.preview.as_ref();
        let revision = preview.map_or(self.revision, |preview| preview.revision);
        self.verb.command(&self.placement, revision)
    }

    pub(super) fn tier(&self) -> Option<Tier> {
        match &self.preview {
            Some(preview) if preview.refused.is_some() => None,
            Some(preview) => Some(preview.tier),
            None => self.verb.is_urgent().then_some(Tier::One),
        }
    }

    /// Takes the engine's words. True where they are others than those that were read.
    pub(super) fn foretold(&mut self, preview: Box<Preview>) -> bool {
        let other = |old: &Preview| old.revision != preview.revision || old.tier != preview.tier;
        let anew = self.preview.as_deref().is_none_or(other);
        self.revision = preview.revision;
        self.preview = Some(preview);
        anew
    }

    pub(super) fn observe(&mut self, snapshot: &Snapshot) -> Seen {
        let open = snapshot
            .placement(&self.placement)
            .and_then(|view| view.rollout.as_ref());
        let now = open.map(|rollout| (rollout.id, rollout.number));
        let revision = open.map_or(0, |rollout| rollout.revision);
        if now == self.rollout && revision == self.revision {
            return Seen::Same;
        }
        // Another revision of the same rollout makes no abort or hold wrong: only its text.
        let moved = now != self.rollout || !self.verb.is_urgent();
        (self.rollout, self.revision) = (now, revision);
        match moved {
            true => Seen::Moved(changed(open)),
            false => Seen::Text,
        }
    }
}

fn changed(open: Option<&RolloutView>) -> String {
    match open {
        None => "the rollout is closed".to_owned(),
        Some(rollout) => format!(
            "{} is {} now, {}",
            rollout.number,
            phase(rollout),
            rollout.because,
        ),
    }
}

fn phase(rollout: &RolloutView) -> String {
    let held = if rollout.hold.is_some() { "held, " } else { "" };
    format!("{held}{}", rollout.verdict.word())
}

//! The confirm dialog: what a command would do, in the engine's words, and the guard before it.
//!
//! Pure: keys and times in, a verdict out. It binds the rollout and revision it was opened for;
//! when those change it locks again. Esc always cancels, Enter confirms nowhere but on the verb
//! button of a tier-2 dialog, a burst or a paste never does.

mod draw;
mod guard;

pub use draw::{draw, fits, one_line};
pub use guard::{Guard, Press};

use crate::link::wire::{CommandRequest, Reply};
use crate::model::command::{Answer, PromoteTo};
use crate::model::{Clean, Placement, RolloutId, RolloutNumber, ServerName, Urgency, Version};
use crate::view::snapshot::RolloutView;
use crate::view::{Preview, Snapshot, Tier};

/// How long an answer is waited for before it is called unknown.
const ANSWER_MS: u64 = 20_000;

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

    fn command(&self, placement: &Placement, revision: u64) -> CommandRequest {
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

/// How far a dialog is.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// The person decides.
    Prompting,
    /// Sent; the answer is awaited.
    Waiting {
        /// Since when.
        since_ms: u64,
    },
    /// Answered.
    Over {
        /// How.
        end: End,
        /// In words.
        text: Clean,
    },
}

/// How a command ended, as far as the console knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Accepted.
    Done,
    /// Refused, or certainly not sent.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// An open dialog.
#[derive(Debug, Clone, PartialEq)]
pub struct Confirm {
    /// What is asked for.
    pub verb: Verb,
    /// Where.
    pub placement: Placement,
    /// The rollout it was opened for; `None` where none was open.
    pub rollout: Option<(RolloutId, RolloutNumber)>,
    /// What the engine says it would do.
    pub preview: Option<Box<Preview>>,
    /// How far it is.
    pub stage: Stage,
    /// What keeps a slip from confirming.
    pub guard: Guard,
    /// What happened meanwhile that a person must know.
    pub banner: Option<String>,
    /// The revision it binds.
    revision: u64,
    request: Option<u64>,
}

impl Confirm {
    /// Opens one for what the snapshot shows now.
    pub fn open(
        verb: Verb,
        placement: Placement,
        open: Option<&RolloutView>,
        guard: Guard,
    ) -> Self {
        Self {
            verb,
            placement,
            rollout: open.map(|rollout| (rollout.id, rollout.number)),
            preview: None,
            stage: Stage::Prompting,
            guard,
            banner: None,
            revision: open.map_or(0, |rollout| rollout.revision),
            request: None,
        }
    }

    /// The request whose reply it waits for.
    pub fn awaits(&self, id: u64) -> bool {
        self.request == Some(id)
    }

    /// Whether nobody was asked yet what it would do.
    pub fn owes_preview(&self) -> bool {
        let unasked = self.request.is_none() && self.banner.is_none();
        unasked && self.preview.is_none() && self.stage == Stage::Prompting
    }

    /// The preview to ask for, as request `id`.
    pub fn ask(&mut self, id: u64) -> CommandRequest {
        self.request = Some(id);
        self.verb.command(&self.placement, self.revision)
    }

    /// The command itself, as request `id`; from now on it waits.
    pub fn send(&mut self, id: u64, now_ms: u64) -> CommandRequest {
        self.request = Some(id);
        self.stage = Stage::Waiting { since_ms: now_ms };
        let revision = self
            .preview
            .as_ref()
            .map_or(self.revision, |preview| preview.revision);
        self.verb.command(&self.placement, revision)
    }

    /// How it must be confirmed; `None` while that is not known or nothing can be.
    pub fn tier(&self) -> Option<Tier> {
        match &self.preview {
            Some(preview) if preview.refused.is_some() => None,
            Some(preview) => Some(preview.tier),
            None => self.verb.is_urgent().then_some(Tier::One),
        }
    }

    /// Takes the engine's reply.
    pub fn reply(&mut self, reply: Reply, now_ms: u64) {
        self.request = None;
        match (&self.stage, reply) {
            (Stage::Prompting, Reply::Preview { preview }) => self.preview(preview, now_ms),
            (Stage::Waiting { .. }, Reply::Answer { answer }) => self.answer(answer),
            (Stage::Over { .. }, _) => {}
            // What must always work needs no text.
            (Stage::Prompting, Reply::Error { text }) if self.verb.is_urgent() => {
                self.banner = Some(format!("no preview: {text}"));
            }
            (_, Reply::Error { text }) => self.over(End::Failed, text),
            (_, _) => {
                let text = "the engine's reply does not fit; do the versions differ?";
                self.over(End::Unknown, text.into());
            }
        }
    }

    fn preview(&mut self, preview: Box<Preview>, now_ms: u64) {
        let first = self.preview.is_none();
        let moved = self
            .preview
            .as_ref()
            .is_some_and(|old| old.revision != preview.revision || old.tier != preview.tier);
        // Text that was not there can not have been read yet.
        if (first && !self.verb.is_urgent()) || (moved && !self.verb.is_urgent()) {
            self.guard.lock(now_ms);
        }
        self.revision = preview.revision;
        self.preview = Some(preview);
    }

    fn answer(&mut self, answer: Answer) {
        let (end, text) = match answer {
            Answer::Accepted {
                number, revision, ..
            } => (
                End::Done,
                format!(
                    "{} of {number} accepted, revision {revision}",
                    self.verb.word()
                ),
            ),
            Answer::Begun { number } => (End::Done, format!("{number} was begun by this request")),
            Answer::Run { run, .. } => {
                (End::Done, format!("{} of {run} accepted", self.verb.word()))
            }
            Answer::RunBegun { run } => (End::Done, format!("{run} was begun by this request")),
            Answer::Already { what } => (End::Done, what.to_string()),
            Answer::Unrecorded { why } => (
                End::Done,
                format!("being done, but not recorded yet: {why}"),
            ),
            Answer::Refused(refusal) => (End::Failed, format!("refused: {refusal}")),
        };
        self.over(end, Clean::new(&text));
    }

    fn over(&mut self, end: End, text: Clean) {
        self.stage = Stage::Over { end, text };
    }

    /// The connection is gone. False if the dialog has nothing more to say.
    pub fn lost(&mut self) -> bool {
        self.request = None;
        match self.stage {
            Stage::Prompting => false,
            Stage::Over { .. } => true,
            Stage::Waiting { .. } => {
                self.unknown("the engine was lost before it answered");
                true
            }
        }
    }

    fn unknown(&mut self, why: &str) {
        let text = format!(
            "UNKNOWN: {why}. It may have happened or not; nothing is sent again. Look at the \
             state, then decide anew"
        );
        self.over(End::Unknown, Clean::new(&text));
    }

    /// Lets time pass.
    pub fn tick(&mut self, now_ms: u64) {
        if let Stage::Waiting { since_ms } = self.stage
            && now_ms >= since_ms + ANSWER_MS
        {
            self.unknown("the engine did not answer in time");
        }
    }

    /// When something changes by time alone.
    pub fn wake_ms(&self, now_ms: u64) -> Option<u64> {
        match self.stage {
            Stage::Prompting => self.guard.unlocks_ms(now_ms),
            Stage::Waiting { since_ms } => Some(since_ms + ANSWER_MS),
            Stage::Over { .. } => None,
        }
    }

    /// Takes a newer snapshot. True if the preview must be asked for again.
    pub fn observe(&mut self, snapshot: &Snapshot, now_ms: u64) -> bool {
        if self.stage != Stage::Prompting {
            return false;
        }
        let open = snapshot
            .placement(&self.placement)
            .and_then(|view| view.rollout.as_ref());
        let now = open.map(|rollout| (rollout.id, rollout.number));
        let revision = open.map_or(0, |rollout| rollout.revision);
        if now == self.rollout && revision == self.revision {
            return false;
        }
        // Another revision of the same rollout makes no abort or hold wrong: only its text.
        if now != self.rollout || !self.verb.is_urgent() {
            self.guard.lock(now_ms);
            self.banner = Some(changed(open));
        }
        (self.rollout, self.revision) = (now, revision);
        true
    }
}

fn changed(open: Option<&RolloutView>) -> String {
    match open {
        None => "STATE CHANGED: the rollout is closed. Read again".to_owned(),
        Some(rollout) => format!(
            "STATE CHANGED: {} is {} now, {}. Read again",
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

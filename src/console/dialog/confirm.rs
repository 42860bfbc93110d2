//! The confirm dialog: what a command would do, in the engine's words where it foretells it, and
//! the guard before it.
//!
//! Pure: keys and times in, a verdict out. It binds what it was opened for, by its identity: a
//! rollout with its revision, or a run of a pipeline with its stages; when those change it locks
//! again. Esc always cancels, Enter confirms nowhere but on the verb
//! button of a tier-2 dialog, a burst or a paste never does.

mod draw;
mod guard;
mod rollout;
mod run;
mod verb;

pub use draw::{draw, fits, one_line};
pub use guard::{Guard, Press};
pub use rollout::RolloutAsk;
pub use run::{RunAct, RunAsk};
pub use verb::Verb;

use crate::link::wire::{CommandRequest, Reply, Request};
use crate::model::command::Answer;
use crate::model::{Clean, Placement};
use crate::view::snapshot::RolloutView;
use crate::view::{Preview, PreviewLine, Snapshot, Tier};

/// How long an answer is waited for before it is called unknown.
const ANSWER_MS: u64 = 20_000;

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

/// What a dialog is about.
#[derive(Debug, Clone, PartialEq)]
pub enum About {
    /// A placement, and its rollout where one is open.
    Rollout(RolloutAsk),
    /// A run of a pipeline.
    Run(RunAsk),
}

/// An open dialog.
#[derive(Debug, Clone, PartialEq)]
pub struct Confirm {
    /// What is asked for, and of what.
    pub about: About,
    /// How far it is.
    pub stage: Stage,
    /// What keeps a slip from confirming.
    pub guard: Guard,
    /// What happened meanwhile that a person must know.
    pub banner: Option<String>,
    request: Option<u64>,
}

/// What a dialog says would happen.
pub(super) struct Said<'a> {
    lines: &'a [PreviewLine],
    warnings: &'a [Clean],
    refused: Option<String>,
}

/// What a newer snapshot means for what is bound.
enum Seen {
    /// Nothing.
    Same,
    /// Only the text is another.
    Text,
    /// What was read no longer holds: this is what happened.
    Moved(String),
}

impl Confirm {
    /// Opens one for what the snapshot shows now.
    pub fn open(
        verb: Verb,
        placement: Placement,
        open: Option<&RolloutView>,
        guard: Guard,
    ) -> Self {
        Self::about(
            About::Rollout(RolloutAsk::new(verb, placement, open)),
            guard,
        )
    }

    /// Opens one about a run of a pipeline.
    pub fn of_run(ask: RunAsk, guard: Guard) -> Self {
        Self::about(About::Run(ask), guard)
    }

    fn about(about: About, guard: Guard) -> Self {
        Self {
            about,
            stage: Stage::Prompting,
            guard,
            banner: None,
            request: None,
        }
    }

    /// The verb as people type it.
    pub fn word(&self) -> &'static str {
        match &self.about {
            About::Rollout(ask) => ask.verb.word(),
            About::Run(ask) => ask.act.word(),
        }
    }

    /// What it acts on, in a word.
    pub(super) fn subject(&self) -> String {
        match &self.about {
            About::Rollout(ask) => ask.subject(),
            About::Run(ask) => ask.act.subject(),
        }
    }

    /// Abort and hold must work from the smallest terminal and without knowing more.
    pub fn is_urgent(&self) -> bool {
        match &self.about {
            About::Rollout(ask) => ask.verb.is_urgent(),
            About::Run(_) => false,
        }
    }

    pub(super) fn title(&self) -> String {
        match &self.about {
            About::Rollout(ask) => ask.title(),
            About::Run(ask) => ask.title(),
        }
    }

    pub(super) fn button(&self) -> String {
        match &self.about {
            About::Rollout(ask) => ask.button(),
            About::Run(ask) => ask.button(),
        }
    }

    /// What would happen; `None` while the engine was not heard.
    pub(super) fn said(&self) -> Option<Said<'_>> {
        match &self.about {
            About::Rollout(ask) => ask.said(),
            About::Run(ask) => Some(ask.said()),
        }
    }

    /// The request whose reply it waits for.
    pub fn awaits(&self, id: u64) -> bool {
        self.request == Some(id)
    }

    /// Whether nobody was asked yet what it would do.
    pub fn owes_preview(&self) -> bool {
        let About::Rollout(ask) = &self.about else {
            return false;
        };
        let unasked = self.request.is_none() && self.banner.is_none();
        unasked && ask.preview.is_none() && self.stage == Stage::Prompting
    }

    /// The preview to ask for, as request `id`; `None` where the engine gives none.
    pub fn ask(&mut self, id: u64) -> Option<CommandRequest> {
        let About::Rollout(ask) = &self.about else {
            return None;
        };
        self.request = Some(id);
        Some(ask.preview_of())
    }

    /// The request itself, as `id`; from now on it waits.
    pub fn send(&mut self, id: u64, now_ms: u64) -> Request {
        self.request = Some(id);
        self.stage = Stage::Waiting { since_ms: now_ms };
        match &self.about {
            About::Rollout(ask) => Request::Command {
                command: ask.command(),
            },
            About::Run(ask) => ask.act.request(),
        }
    }

    /// How it must be confirmed; `None` while that is not known or nothing can be.
    pub fn tier(&self) -> Option<Tier> {
        match &self.about {
            About::Rollout(ask) => ask.tier(),
            About::Run(ask) => ask.tier(),
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
            (Stage::Prompting, Reply::Error { text }) if self.is_urgent() => {
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
        let urgent = self.is_urgent();
        let About::Rollout(ask) = &mut self.about else {
            return;
        };
        // Text that was not there can not have been read yet.
        if ask.foretold(preview) && !urgent {
            self.guard.lock(now_ms);
        }
    }

    fn answer(&mut self, answer: Answer) {
        let (end, text) = match answer {
            Answer::Accepted {
                number, revision, ..
            } => (
                End::Done,
                format!("{} of {number} accepted, revision {revision}", self.word()),
            ),
            Answer::Begun { number } => (End::Done, format!("{number} was begun by this request")),
            Answer::Run { run, .. } => (End::Done, format!("{} of {run} accepted", self.word())),
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
        let (seen, asks) = match &mut self.about {
            About::Rollout(ask) => (ask.observe(snapshot), true),
            About::Run(ask) => (ask.observe(snapshot), false),
        };
        match seen {
            Seen::Same => return false,
            Seen::Text => {}
            Seen::Moved(what) => {
                self.guard.lock(now_ms);
                self.banner = Some(format!("STATE CHANGED: {what}. Read again"));
            }
        }
        asks
    }
}

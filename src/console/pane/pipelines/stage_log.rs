//! One attempt's output: which, how far it was read, and whether more can come.

use crate::console::pane::logs::Logs;
use crate::link::wire::Request;
use crate::model::{Clean, RunNumber, StageName};
use crate::view::pipeline::{RunView, StageView};

/// Whose output is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Of which run.
    pub run: RunNumber,
    /// Of which stage.
    pub stage: StageName,
    /// Of which attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Whether more can come.
    pub runs: bool,
}

impl Output {
    /// A stage's newest attempt.
    pub fn of(run: &RunView, stage: &StageView) -> Self {
        Self {
            run: run.number,
            stage: stage.name.clone(),
            attempt: stage.attempts,
            runs: stage.status == "running",
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.run, &self.stage, self.attempt) == (other.run, &other.stage, other.attempt)
    }
}

/// What was read of it.
#[derive(Debug, Clone, Default)]
pub struct StageLog {
    /// The lines, as the pane Logs shows its own.
    pub lines: Logs,
    of: Option<Output>,
    next: u64,
    /// Whether everything was read, and nothing more comes.
    is_whole: bool,
    trouble: Option<Clean>,
}

impl StageLog {
    /// Whose output it is.
    pub fn of(&self) -> Option<&Output> {
        self.of.as_ref()
    }

    /// Why nothing could be read the last time.
    pub fn trouble(&self) -> Option<&Clean> {
        self.trouble.as_ref()
    }

    /// Reads this output from now on; what was read of another one is dropped.
    pub fn open(&mut self, output: Output) {
        let same = self.of.as_ref().is_some_and(|of| of.is_same(&output));
        if !same {
            *self = Self::default();
        }
        self.of = Some(output);
    }

    /// The connection is another one: it is asked again.
    pub fn lost(&mut self) {
        self.is_whole = false;
    }

    /// What to ask for; `None` where nothing more can come.
    pub fn request(&self) -> Option<Request> {
        let of = self.of.as_ref()?;
        (of.attempt > 0 && !self.is_whole).then(|| Request::StageLogs {
            id: of.run,
            stage: of.stage.clone(),
            attempt: Some(of.attempt),
            from: self.next,
        })
    }

    /// Takes lines that were asked for while `asked` was read.
    pub fn read(&mut self, asked: &Output, next: u64, skipped: u64, lines: Vec<Clean>) {
        let Some(of) = self.of.as_ref().filter(|of| of.is_same(asked)) else {
            return;
        };
        // Lines may have come between its last ones and its end: once more after that.
        self.is_whole = lines.is_empty() && !asked.runs && !of.runs;
        self.trouble = None;
        self.next = next;
        self.lines.add("", None, skipped, lines);
    }

    /// Nothing could be read.
    pub fn failed(&mut self, asked: &Output, why: Clean) {
        if let Some(of) = self.of.as_ref().filter(|of| of.is_same(asked)) {
            self.is_whole = !of.runs;
            self.trouble = Some(why);
        }
    }
}

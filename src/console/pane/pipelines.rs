//! Runs of pipelines: all of them, one as a graph, one stage's output. What is selected is a run's
//! number and a stage's name, never a row.

mod draw;
pub mod graph;
pub mod mark;
pub mod rail;
mod stage_log;

pub use draw::draw;
pub use stage_log::{Output, StageLog};

use super::Pane;
use crate::console::keymap::Action;
use crate::model::{RunNumber, StageName};
use crate::view::pipeline::{RunView, StageView};

/// How deep a person looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// All runs.
    #[default]
    List,
    /// One run.
    Run,
    /// One stage's output.
    Log,
}

/// What an action meant here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Something.
    Here,
    /// To leave for where one came from.
    Back,
    /// Nothing.
    Nothing,
}

/// The pane's state.
#[derive(Debug, Clone)]
pub struct Runs {
    /// How deep a person looks.
    pub level: Level,
    /// The stage's output.
    pub log: StageLog,
    /// Where a person came from.
    pub from: Pane,
    run: Option<RunNumber>,
    stage: Option<StageName>,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            level: Level::List,
            log: StageLog::default(),
            from: Pane::Fleet,
            run: None,
            stage: None,
        }
    }
}

impl Runs {
    /// Chooses a run, and looks at it where one is given; at all of them else.
    pub fn open(&mut self, run: Option<RunNumber>, from: Pane) {
        self.from = from;
        self.level = if run.is_some() {
            Level::Run
        } else {
            Level::List
        };
        self.choose(run.or(self.run));
    }

    fn choose(&mut self, run: Option<RunNumber>) {
        if run != self.run {
            self.run = run;
            self.stage = None;
        }
    }

    /// The number that is selected, whether there is such a run or not.
    pub fn number(&self) -> Option<RunNumber> {
        self.run
    }

    /// The selected run; the first one shown where none was chosen; `None` where it is gone.
    pub fn run<'a>(&self, runs: &'a [RunView]) -> Option<&'a RunView> {
        match self.run {
            Some(number) => runs.iter().find(|run| run.number == number),
            None => mark::ordered(runs).first().copied(),
        }
    }

    /// The selected stage of a run; the foremost one where none was chosen.
    pub fn stage<'a>(&self, run: &'a RunView) -> Option<&'a StageView> {
        let chosen = self.stage.as_ref();
        let chosen = run.stages.iter().find(|stage| Some(&stage.name) == chosen);
        let ended = || run.stages.iter().rfind(|stage| stage.attempts > 0);
        let first = || run.stages.first();
        chosen
            .or_else(|| run.foremost())
            .or_else(ended)
            .or_else(first)
    }

    /// Takes an action; `page` is how many rows are shown.
    pub fn act(&mut self, action: Action, runs: &[RunView], page: u16) -> Taken {
        match self.level {
            Level::List => self.act_on_list(action, runs, page),
            Level::Run => self.act_on_run(action, runs, page),
            Level::Log => self.act_on_log(action, page),
        }
    }

    fn act_on_list(&mut self, action: Action, runs: &[RunView], page: u16) -> Taken {
        if let Some(by) = steps(action, page) {
            let shown = mark::ordered(runs);
            let now = self.run(runs).map(|run| run.number);
            let at = shown.iter().position(|run| Some(run.number) == now);
            let next = neighbour(at, by, shown.len());
            self.choose(shown.get(next).map(|run| run.number));
            return Taken::Here;
        }
        match action {
            Action::Open | Action::Right => {
                if let Some(run) = self.run(runs) {
                    self.choose(Some(run.number));
                    self.level = Level::Run;
                }
                Taken::Here
            }
            Action::Back | Action::Left => Taken::Back,
            _ => Taken::Nothing,
        }
    }

    fn act_on_run(&mut self, action: Action, runs: &[RunView], page: u16) -> Taken {
        let run = self.run(runs);
        if let (Some(by), Some(run)) = (steps(action, page), run) {
            let now = self.stage(run).map(|stage| &stage.name);
            let at = run.stages.iter().position(|stage| Some(&stage.name) == now);
            let next = neighbour(at, by, run.stages.len());
            self.stage = run.stages.get(next).map(|stage| stage.name.clone());
            return Taken::Here;
        }
        match action {
            Action::Back | Action::Left => self.level = Level::List,
            Action::Open | Action::Right => self.open_log(run),
            Action::Search | Action::Filter | Action::Follow => {
                self.open_log(run);
                return self.act_on_log(action, page);
            }
            _ => return Taken::Nothing,
        }
        Taken::Here
    }

    fn open_log(&mut self, run: Option<&RunView>) {
        let Some((run, stage)) = run.and_then(|run| Some((run, self.stage(run)?))) else {
            return;
        };
        self.stage = Some(stage.name.clone());
        self.log.open(Output::of(run, stage));
        self.level = Level::Log;
    }

    fn act_on_log(&mut self, action: Action, page: u16) -> Taken {
        if self.level != Level::Log {
            return Taken::Nothing;
        }
        // A stage has one source.
        if action != Action::Source && self.log.lines.act(action, page) {
            return Taken::Here;
        }
        if action == Action::Back {
            self.level = Level::Run;
            return Taken::Here;
        }
        Taken::Nothing
    }

    /// Whether a line is being typed, so that keys are text.
    pub fn is_typing(&self) -> bool {
        self.level == Level::Log && self.log.lines.is_typing()
    }

    /// Takes what a newer snapshot says of what is shown: another attempt prints anew.
    pub fn observe(&mut self, runs: &[RunView]) {
        if self.level == Level::Log
            && let Some(run) = self.run(runs)
            && let Some(stage) = self.stage(run)
        {
            self.log.open(Output::of(run, stage));
        }
    }
}

/// By how many rows an action moves; `None` if it moves nothing.
fn steps(action: Action, page: u16) -> Option<isize> {
    let page = isize::try_from(page).unwrap_or(1);
    Some(match action {
        Action::Up => -1,
        Action::Down => 1,
        Action::PageUp => -page,
        Action::PageDown => page,
        Action::Top => isize::MIN / 2,
        Action::Bottom => isize::MAX / 2,
        _ => return None,
    })
}

fn neighbour(at: Option<usize>, by: isize, len: usize) -> usize {
    let last = len.saturating_sub(1);
    at.map_or(0, |at| at.saturating_add_signed(by).min(last))
}

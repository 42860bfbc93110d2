//! Runs of pipelines: which one is meant, what is read of it, what is asked of it.

use super::{App, Cmd, Overlay, Page, Route};
use crate::console::dialog::confirm::{Confirm, Guard, RunAct, RunAsk};
use crate::console::dialog::palette::RunCommand;
use crate::console::input::Key;
use crate::console::keymap::Action;
use crate::console::pane::Pane;
use crate::console::pane::pipelines::{Level, Output, Taken, mark};
use crate::console::screen;
use crate::link::wire::Request;
use crate::model::pipeline::RunResult;
use crate::model::{Placement, RunNumber};
use crate::view::pipeline::StageView;
use crate::view::snapshot::PlacementView;
use crate::view::{RunView, Snapshot};

impl App {
    /// The runs there are, the newest first.
    fn all_runs(&self) -> &[RunView] {
        let snapshot = self.snapshot.as_ref();
        snapshot.map_or(&[], |snapshot| &snapshot.runs)
    }

    /// Whether any pipeline ever ran.
    pub fn has_runs(&self) -> bool {
        !self.all_runs().is_empty()
    }

    /// The run that concerns the selected placement.
    pub fn run_here(&self) -> Option<&RunView> {
        let placement = self.selected.as_ref()?;
        mark::concerning(self.all_runs(), placement, self.engine_now_ms())
    }

    /// Rows that the run takes beside the rollout on a small screen: more where nothing is rolled
    /// out, and so nothing measured.
    pub(super) fn rail_rows(&self) -> u16 {
        let open = self.view().is_some_and(|view| view.rollout.is_some());
        match (self.run_here(), open) {
            (None, _) => 0,
            (Some(_), true) => 1,
            (Some(_), false) => 3,
        }
    }

    /// The run a person looks at: the selected one, or the one of the selected placement.
    pub fn run_shown(&self) -> Option<&RunView> {
        match self.page {
            Page::Runs => self.runs.run(self.all_runs()),
            Page::Fleet | Page::Place => self.run_here(),
        }
    }

    /// Shows the run of the selected placement, and all of them where there is none.
    pub(super) fn open_meant_run(&mut self) {
        let here = match self.page {
            Page::Place => self.run_here().map(|run| run.number),
            Page::Fleet | Page::Runs => None,
        };
        self.open_runs(here);
    }

    /// Shows a run, or all of them.
    pub(super) fn open_runs(&mut self, run: Option<RunNumber>) {
        let from = match self.page {
            Page::Runs => self.runs.from,
            Page::Fleet | Page::Place => self.focus,
        };
        self.runs.open(run, from);
        self.go_to(Pane::Pipelines);
    }

    /// An action that only looks, among the runs.
    pub(super) fn look_at_runs(&mut self, action: Action, page: u16) -> bool {
        let Some(snapshot) = self.snapshot.clone() else {
            return false;
        };
        let taken = self.runs.act(action, &snapshot.runs, page);
        // What is opened is read at once.
        self.logs_due_ms = match self.runs.level {
            Level::Log if self.runs.log.lines.is_empty() => 0,
            _ => self.logs_due_ms,
        };
        match taken {
            Taken::Here => true,
            Taken::Nothing => false,
            Taken::Back => {
                self.go_to(self.runs.from);
                true
            }
        }
    }

    /// Whose output can be seen and read on.
    pub(super) fn reads_stage_log(&self) -> Option<Request> {
        let seen = self.page == Page::Runs && self.runs.level == Level::Log;
        if !seen || !self.link.connected {
            return None;
        }
        self.runs.log.request()
    }

    /// Asks for a stage's new lines, one request at a time.
    pub(super) fn ask_stage_log(&mut self) -> Option<Cmd> {
        let request = self.reads_stage_log()?;
        let of: Output = self.runs.log.of()?.clone();
        let asked = |route: &Route| matches!(route, Route::StageLog(_));
        if self.routes.values().any(asked) {
            return None;
        }
        Some(self.ask(Route::StageLog(of), request))
    }

    /// The stage that waits for a person: the selected one, else the run's first.
    fn waiting<'a>(&self, run: &'a RunView) -> Option<&'a StageView> {
        let chosen = match (self.page, self.runs.level) {
            (Page::Runs, Level::Run | Level::Log) => self.runs.stage(run),
            _ => None,
        };
        let chosen = chosen.filter(|stage| stage.waits_for_person);
        chosen.or_else(|| run.stages.iter().find(|stage| stage.waits_for_person))
    }

    /// Why an action on the run that is shown is not possible, as far as the screen knows.
    pub(super) fn why_not_run(&self, action: Action) -> Option<String> {
        if let Some(why) = self.cannot_send() {
            return Some(why);
        }
        let Some(run) = self.run_shown() else {
            let key = self.keymap.key(Action::Pipelines);
            let key = key.map_or_else(|| ":pipeline".to_owned(), |key| key.to_string());
            return Some(format!(
                "no run of a pipeline is selected: {key} shows them"
            ));
        };
        match (run.result, action) {
            (Some(result), _) => Some(format!("{} is over: {}", run.number, result.word())),
            (None, Action::ConfirmStage) if self.waiting(run).is_none() => {
                Some(format!("no stage of {} waits for a person", run.number))
            }
            (None, Action::CancelRun) if run.canceled.is_some() => {
                Some(format!("{} is being canceled already", run.number))
            }
            (None, _) => None,
        }
    }

    /// Opens the dialog about the run that is shown, or says why not.
    pub(super) fn acts_on_run(&mut self, action: Action, key: Key, now_ms: u64) -> Vec<Cmd> {
        if let Some(why) = self.why_not_run(action) {
            self.toast(why, now_ms);
            return Vec::new();
        }
        let act = self.run_shown().and_then(|run| match action {
            Action::CancelRun => Some(cancel(run)),
            _ => Some(confirm(run, self.waiting(run)?)),
        });
        match act {
            Some(act) => self.open_run_dialog(act, key, now_ms),
            None => Vec::new(),
        }
    }

    /// What a typed command asks for, by identity.
    ///
    /// # Errors
    /// Why it asks for nothing that is there.
    pub(super) fn run_act(&self, command: RunCommand) -> Result<RunAct, String> {
        let shown = |action| match self.why_not_run(action) {
            Some(why) => Err(why),
            None => self.run_shown().ok_or_else(String::new),
        };
        Ok(match command {
            RunCommand::Begin(pipeline, branch) => RunAct::Begin { pipeline, branch },
            RunCommand::Cancel(None) => cancel(shown(Action::CancelRun)?),
            RunCommand::Cancel(Some(number)) => cancel(self.numbered(number)?),
            RunCommand::Confirm(None) => {
                let run = shown(Action::ConfirmStage)?;
                let stage = self.waiting(run);
                confirm(run, stage.ok_or_else(|| "nothing waits".to_owned())?)
            }
            RunCommand::Confirm(Some((number, name))) => {
                let run = self.numbered(number)?;
                let stage = run.stages.iter().find(|stage| stage.name == name);
                let there: Vec<_> = run.stages.iter().map(|stage| stage.name.as_str()).collect();
                let none = || format!("{number} has no stage {name}; {}", there.join(", "));
                confirm(run, stage.ok_or_else(none)?)
            }
        })
    }

    fn numbered(&self, number: RunNumber) -> Result<&RunView, String> {
        let mut runs = self.all_runs().iter();
        let run = runs.find(|run| run.number == number);
        run.ok_or_else(|| format!("there is no run {number} among those that are kept"))
    }

    /// Opens a dialog about a run. Its text is made from the snapshot: the engine is asked nothing.
    pub(super) fn open_run_dialog(&mut self, act: RunAct, trigger: Key, now_ms: u64) -> Vec<Cmd> {
        if let Some(why) = self.cannot_send() {
            self.toast(why, now_ms);
            return Vec::new();
        }
        let Some(snapshot) = &self.snapshot else {
            return Vec::new();
        };
        let ask = RunAsk::new(act, snapshot);
        let word = ask.environment(snapshot);
        let guard = Guard::new(trigger, &word, self.settings.lock_ms, now_ms);
        self.overlay = Some(Overlay::Confirm(Box::new(Confirm::of_run(ask, guard))));
        Vec::new()
    }

    /// Among the runs the placement that is meant is the one the shown stage deploys to.
    ///
    /// # Errors
    /// What to do where none is meant.
    pub(super) fn select_what_is_meant(&mut self) -> Result<(), String> {
        if !self.means_a_run() {
            return Ok(());
        }
        let meant = self.run_shown().and_then(|run| self.place_of(run)).cloned();
        match meant {
            None => Err("no placement is selected here: 0 shows them all".to_owned()),
            Some(placement) => {
                self.select(Some(placement));
                Ok(())
            }
        }
    }

    /// Whether what is shown is a run and not a placement; the smallest screens show no run.
    fn means_a_run(&self) -> bool {
        self.page == Page::Runs && !screen::is_tiny(self.size)
    }

    /// The placement that acting keys mean.
    pub(super) fn view_meant(&self) -> Option<&PlacementView> {
        if !self.means_a_run() {
            return self.view();
        }
        let placement = self.place_of(self.run_shown()?)?;
        self.snapshot.as_ref()?.placement(placement)
    }

    /// Whether a rollout of the run that is shown is under way.
    pub fn deploys_now(&self) -> bool {
        let run = self.run_shown().filter(|run| run.is_open());
        run.is_some_and(|run| run.stages.iter().any(deploys))
    }

    fn place_of<'a>(&self, run: &'a RunView) -> Option<&'a Placement> {
        let chosen = match self.runs.level {
            Level::List => None,
            Level::Run | Level::Log => self.runs.stage(run),
        };
        let under_way = run.stages.iter().find(|stage| deploys(stage));
        let place = |stage: &'a StageView| stage.placement.as_ref();
        chosen.and_then(place).or_else(|| under_way.and_then(place))
    }
}

fn deploys(stage: &StageView) -> bool {
    stage.status == "running" && stage.rollout.is_some()
}

fn cancel(run: &RunView) -> RunAct {
    RunAct::Cancel {
        run: run.number,
        id: run.id,
    }
}

fn confirm(run: &RunView, stage: &StageView) -> RunAct {
    RunAct::Confirm {
        run: run.number,
        id: run.id,
        stage: stage.name.clone(),
    }
}

/// What somebody who is not looking must be told of: a run that failed, or waits for them.
pub(super) fn call(older: &Snapshot, newer: &Snapshot) -> Option<String> {
    let waits = |run: &RunView| run.stages.iter().any(|stage| stage.waits_for_person);
    newer.runs.iter().find_map(|run| {
        let before = older.runs.iter().find(|it| it.id == run.id)?;
        if waits(run) && !waits(before) {
            return Some(format!("{} waits for a person", run.number));
        }
        let failed = run.result == Some(RunResult::Failed);
        (failed && before.result.is_none()).then(|| format!("{} failed", run.number))
    })
}

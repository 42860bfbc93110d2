//! What the engine tells: connections, snapshots, replies.

use super::{App, Cmd, Overlay, Page, Route};
use crate::console::dialog::confirm::{End, Stage};
use crate::console::pane::{Pane, history};
use crate::link::LinkEvent;
use crate::link::wire::{Reply, Request};
use crate::model::command::Answer;
use crate::model::{Placement, ServerName, Status};
use crate::view::Snapshot;
use std::sync::Arc;

/// Without a key for this long nobody is looking.
const IDLE_MS: u64 = 60_000;

impl App {
    pub(super) fn news(&mut self, event: LinkEvent, now_ms: u64) -> Vec<Cmd> {
        match event {
            LinkEvent::Connected(hello) => {
                self.link.connected = true;
                self.link.why = None;
                self.link.hello = Some(hello);
                self.history.asked_at = None;
                self.runs.log.lost();
                Vec::new()
            }
            LinkEvent::Disconnected { why } => {
                self.lost(why, now_ms);
                Vec::new()
            }
            LinkEvent::Snapshot(snapshot) => self.snapshot(snapshot, now_ms),
            LinkEvent::Reply { id, reply } => {
                self.reply(id, reply, now_ms);
                self.ask_owed_preview().into_iter().collect()
            }
        }
    }

    fn lost(&mut self, why: crate::model::Clean, now_ms: u64) {
        self.link.connected = false;
        self.link.why = Some(why);
        self.routes.clear();
        if let Some(Overlay::Confirm(dialog)) = &mut self.overlay
            && !dialog.lost()
        {
            self.overlay = None;
            self.toast("the engine was lost: nothing was sent".to_owned(), now_ms);
        }
    }

    fn snapshot(&mut self, snapshot: Arc<Snapshot>, now_ms: u64) -> Vec<Cmd> {
        let mut cmds = Vec::new();
        cmds.extend(self.call(&snapshot, now_ms));
        let mut ask_again = false;
        if let Some(Overlay::Confirm(dialog)) = &mut self.overlay {
            ask_again = dialog.observe(&snapshot, now_ms);
        }
        let first = self.snapshot.is_none();
        self.runs.observe(&snapshot.runs);
        self.snapshot = Some(snapshot);
        self.settle_selection(first);
        if ask_again {
            cmds.extend(self.ask_preview());
        }
        cmds.extend(self.ask_history());
        if first {
            self.logs_due_ms = now_ms;
        }
        cmds
    }

    /// Keeps what is selected by its name; begins with the placement that has a rollout.
    fn settle_selection(&mut self, first: bool) {
        let Some(snapshot) = self.snapshot.clone() else {
            return;
        };
        if self.selected.is_none() {
            let rows = &snapshot.placements;
            let open = rows.iter().find(|view| view.rollout.is_some());
            let begin = open.or(rows.first()).map(|view| view.placement.clone());
            self.select(begin);
        }
        // A guide leads from the first one on.
        let several = snapshot.placements.len() != 1 && self.settings.guide.is_none();
        if first && !self.chosen && several {
            self.page = Page::Fleet;
            self.focus = Pane::Fleet;
        }
    }

    pub(super) fn select(&mut self, placement: Option<Placement>) {
        if placement != self.selected {
            self.selected = placement;
            self.instance = None;
            self.logs.clear();
            self.read_to.clear();
        }
    }

    fn ask_history(&mut self) -> Option<Cmd> {
        let mark = history::mark(self.snapshot.as_ref()?);
        if !self.link.connected || self.history.asked_at.as_ref() == Some(&mark) {
            return None;
        }
        self.history.asked_at = Some(mark);
        let limit = history::ROWS;
        Some(self.ask(Route::History, Request::History { limit }))
    }

    /// Calls for somebody who is not looking: a hold by the engine, or a rollout's end.
    fn call(&self, newer: &Snapshot, now_ms: u64) -> Option<Cmd> {
        let away = !self.looking.focused || now_ms > self.looking.last_key_ms + IDLE_MS;
        let older = self.snapshot.as_ref()?;
        if !away {
            return None;
        }
        let run = super::runs::call(older, newer).map(Cmd::Call);
        let rollout = newer.placements.iter().find_map(|view| {
            let before = older.placement(&view.placement)?;
            let held = |view: &crate::view::snapshot::PlacementView| {
                let hold = view.rollout.as_ref().and_then(|open| open.hold.as_ref());
                hold.is_some_and(|hold| !hold.by_person)
            };
            let number = |last: &Option<crate::view::snapshot::ClosedView>| {
                last.as_ref().map(|last| last.number)
            };
            if held(view) && !held(before) {
                return Some(Cmd::Call(format!("{} is held", view.placement)));
            }
            if number(&view.last) == number(&before.last) {
                return None;
            }
            let last = view.last.as_ref()?;
            let word = match last.status {
                Status::Succeeded => "is done",
                _ => "was taken back",
            };
            Some(Cmd::Call(format!(
                "{} {} {word}",
                view.placement, last.number
            )))
        });
        rollout.or(run)
    }

    fn reply(&mut self, id: u64, reply: Reply, now_ms: u64) {
        match (self.routes.remove(&id), reply) {
            (Some(Route::Dialog), reply) => {
                if let Some(Overlay::Confirm(dialog)) = &mut self.overlay
                    && dialog.awaits(id)
                {
                    dialog.reply(reply, now_ms);
                    self.close_what_is_done(now_ms);
                }
            }
            (Some(Route::Note), reply) => self.toast(noted(&reply), now_ms),
            (Some(Route::History), Reply::History { rows }) => self.history.rows = rows,
            (
                Some(Route::Logs(placement, server)),
                Reply::Logs {
                    next,
                    skipped,
                    lines,
                },
            ) => self.read(placement, server, next, skipped, lines),
            (
                Some(Route::StageLog(of)),
                Reply::Logs {
                    next,
                    skipped,
                    lines,
                },
            ) => self.runs.log.read(&of, next, skipped, lines),
            (Some(Route::StageLog(of)), Reply::Error { text }) => self.runs.log.failed(&of, text),
            _ => {}
        }
    }

    /// What was accepted shows on the screen below; only what went wrong has to be read first.
    fn close_what_is_done(&mut self, now_ms: u64) {
        if let Some(Overlay::Confirm(dialog)) = &self.overlay
            && let Stage::Over {
                end: End::Done,
                text,
            } = &dialog.stage
        {
            let text = text.to_string();
            self.overlay = None;
            self.toast(text, now_ms);
        }
    }

    fn read(
        &mut self,
        placement: Placement,
        server: ServerName,
        next: u64,
        skipped: u64,
        lines: Vec<crate::model::Clean>,
    ) {
        if self.selected.as_ref() != Some(&placement) {
            return;
        }
        let instance = self
            .view()
            .and_then(|view| view.instances.iter().find(|row| row.server == server));
        let role = instance.map(|row| row.role);
        self.logs.add(server.as_str(), role, skipped, lines);
        self.read_to.insert((placement, server), next);
    }

    /// Asks for each instance's new lines, one request at a time per instance.
    pub(super) fn ask_logs(&mut self, cmds: &mut Vec<Cmd>) {
        if !self.reads_logs() {
            return;
        }
        let Some(view) = self.view() else {
            return;
        };
        let placement = view.placement.clone();
        let servers: Vec<_> = view
            .instances
            .iter()
            .map(|row| row.server.clone())
            .collect();
        for server in servers {
            let route = Route::Logs(placement.clone(), server.clone());
            if self.routes.values().any(|open| *open == route) {
                continue;
            }
            let key = (placement.clone(), server.clone());
            let request = Request::Logs {
                placement: placement.clone(),
                server,
                from: self.read_to.get(&key).copied().unwrap_or(0),
            };
            cmds.push(self.ask(route, request));
        }
    }
}

fn noted(reply: &Reply) -> String {
    match reply {
        Reply::Answer {
            answer: Answer::Refused(refusal),
        } => format!("the note was not written: {refusal}"),
        Reply::Error { text } => format!("the note was not written: {text}"),
        _ => "noted".to_owned(),
    }
}

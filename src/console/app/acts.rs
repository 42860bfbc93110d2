//! From a capital letter to a request: dialogs are opened, bound and sent here.

use super::{App, Cmd, Overlay, Route};
use crate::console::dialog::confirm::{Confirm, Guard, Verb};
use crate::console::input::Key;
use crate::console::keymap::Action;
use crate::link::wire::{CommandRequest, Request};
use crate::model::Clean;
use crate::model::command::PromoteTo;

/// Previews under way at a time.
const PREVIEWS_MAX: usize = 3;

impl App {
    /// An action that would change the world: opens its dialog, or says why not.
    pub(super) fn acts(&mut self, action: Action, key: Key, now_ms: u64) -> Vec<Cmd> {
        if matches!(action, Action::CancelRun | Action::ConfirmStage) {
            return self.acts_on_run(action, key, now_ms);
        }
        if let Err(why) = self.select_what_is_meant() {
            self.toast(why, now_ms);
            return Vec::new();
        }
        if let Some(why) = self.why_not(action) {
            self.toast(why, now_ms);
            return Vec::new();
        }
        let verb = match action {
            Action::Promote => Verb::Promote(PromoteTo::Next),
            Action::Abort => Verb::Abort,
            Action::Rollback => Verb::Rollback(None),
            Action::Hold if self.hold_word() == "resume" => Verb::Resume,
            Action::Hold => Verb::Hold,
            _ => return Vec::new(),
        };
        self.open_dialog(verb, key, now_ms)
    }

    /// Opens the dialog for a verb on what is selected, and asks what it would do.
    pub(super) fn open_dialog(&mut self, verb: Verb, trigger: Key, now_ms: u64) -> Vec<Cmd> {
        let action = match &verb {
            Verb::Promote(_) => Some(Action::Promote),
            Verb::Hold | Verb::Resume => Some(Action::Hold),
            Verb::Abort => Some(Action::Abort),
            // The engine knows better which other version there is.
            Verb::Rollback(Some(_)) | Verb::Emergency { to: Some(_), .. } => None,
            Verb::Rollback(None) | Verb::Emergency { to: None, .. } => Some(Action::Rollback),
            // And whether it can be done now.
            Verb::Restart | Verb::Scale(_) | Verb::Drain(_) | Verb::Undrain(_) | Verb::Drill => {
                None
            }
        };
        let why = match action {
            Some(action) => self.why_not(action),
            None => self.cannot_send(),
        };
        if let Some(why) = why {
            self.toast(why, now_ms);
            return Vec::new();
        }
        let Some(view) = self.view() else {
            return Vec::new();
        };
        let placement = view.placement.clone();
        let word = placement.environment.as_str();
        let guard = Guard::new(trigger, word, self.settings.lock_ms, now_ms);
        let open = view.rollout.as_ref();
        let dialog = Confirm::open(verb, placement, open, guard);
        self.overlay = Some(Overlay::Confirm(Box::new(dialog)));
        let open = self
            .routes
            .values()
            .filter(|route| **route == Route::Dialog);
        if open.count() < PREVIEWS_MAX {
            return self.ask_preview().into_iter().collect();
        }
        // A storm of keys must not use up what an abort needs.
        if let Some(Overlay::Confirm(dialog)) = &self.overlay
            && !dialog.is_urgent()
        {
            self.overlay = None;
            self.toast(
                "the engine has not answered yet: try again".to_owned(),
                now_ms,
            );
        }
        Vec::new()
    }

    /// Writes a line into the timeline of what is selected. It changes nothing else, so nothing is
    /// confirmed.
    pub(super) fn note(&mut self, text: Clean, now_ms: u64) -> Vec<Cmd> {
        let Some(placement) = self.selected.clone().filter(|_| self.link.connected) else {
            let why = "the note was not written: no engine, or nothing selected";
            self.toast(why.to_owned(), now_ms);
            return Vec::new();
        };
        if let Some(why) = self.only_looks() {
            self.toast(why, now_ms);
            return Vec::new();
        }
        let command = CommandRequest::Note { placement, text };
        vec![self.ask(Route::Note, Request::Command { command })]
    }

    /// Asks the engine what the open dialog's command would do now.
    pub(super) fn ask_preview(&mut self) -> Option<Cmd> {
        let id = self.next_id;
        let Some(Overlay::Confirm(dialog)) = &mut self.overlay else {
            return None;
        };
        let command = dialog.ask(id)?;
        Some(self.ask(Route::Dialog, Request::Preview { command }))
    }

    /// Asks for a preview that could not be asked for when its dialog was opened.
    pub(super) fn ask_owed_preview(&mut self) -> Option<Cmd> {
        let open = self
            .routes
            .values()
            .filter(|route| **route == Route::Dialog);
        let room = open.count() < PREVIEWS_MAX;
        match &self.overlay {
            Some(Overlay::Confirm(dialog)) if room && dialog.owes_preview() => self.ask_preview(),
            _ => None,
        }
    }

    /// The person agreed: sends the command once.
    pub(super) fn send(&mut self, now_ms: u64) -> Vec<Cmd> {
        let id = self.next_id;
        let Some(Overlay::Confirm(dialog)) = &mut self.overlay else {
            return Vec::new();
        };
        let request = dialog.send(id, now_ms);
        vec![self.ask(Route::Dialog, request)]
    }
}

//! Keys → what they mean where they are pressed.

use super::{App, Cmd, ConsoleEnd, CtrlC, Overlay, Page};
use crate::console::dialog::confirm::{self, Press, Stage};
use crate::console::dialog::help::Help;
use crate::console::dialog::leave;
use crate::console::dialog::palette::Palette;
use crate::console::input::{Company, Heard, Key};
use crate::console::keymap::Action;
use crate::console::pane::{Pane, fleet, instances};
use crate::console::screen;

/// How long after a first Ctrl-C a second one leaves.
const CTRL_C_MS: u64 = 2_000;

impl App {
    pub(super) fn heard(&mut self, heard: Heard, now_ms: u64) -> Vec<Cmd> {
        match heard {
            Heard::Key(key, company) => {
                self.looking.last_key_ms = now_ms;
                self.key(key, company, now_ms)
            }
            Heard::Paste => {
                match &mut self.overlay {
                    Some(Overlay::Confirm(dialog)) => dialog.guard.paste(),
                    _ => self.toast("paste ignored".to_owned(), now_ms),
                }
                Vec::new()
            }
            Heard::FocusGained => {
                self.looking.focused = true;
                vec![Cmd::Redraw]
            }
            Heard::FocusLost => {
                self.looking.focused = false;
                Vec::new()
            }
        }
    }

    fn key(&mut self, key: Key, company: Company, now_ms: u64) -> Vec<Cmd> {
        if key == Key::Ctrl('c') {
            return self.ctrl_c(now_ms);
        }
        // An Esc that a slow line brings together with the next key looks like Alt. Taken for
        // an Esc it closes a dialog somebody wanted closed, at worst one they wanted open.
        let alt = matches!(key, Key::Alt(_)) && self.keymap.action(key).is_none();
        let key = if alt { Key::Esc } else { key };
        if let Some(action) = self.acting(key).filter(|action| self.gives_way(*action)) {
            self.overlay = None;
            return self.acts(action, key, now_ms);
        }
        match self.overlay.take() {
            Some(Overlay::Confirm(dialog)) => {
                self.overlay = Some(Overlay::Confirm(dialog));
                self.confirm_key(key, company, now_ms)
            }
            Some(Overlay::Help(help)) => {
                self.help_key(help, key);
                Vec::new()
            }
            Some(Overlay::Palette(palette)) => self.palette_key(palette, key, now_ms),
            Some(Overlay::Leave) => self.leave_key(key),
            None if self.focus == Pane::Logs && self.logs.is_typing() => {
                self.logs.typed(key);
                Vec::new()
            }
            None if self.focus == Pane::Pipelines && self.runs.is_typing() => {
                self.runs.log.lines.typed(key);
                Vec::new()
            }
            None => self.pane_key(key, now_ms),
        }
    }

    /// The action that changes the world, if the key is one's.
    fn acting(&self, key: Key) -> Option<Action> {
        let action = self.keymap.action(key)?;
        matches!(
            action,
            Action::Promote
                | Action::Abort
                | Action::Rollback
                | Action::Hold
                | Action::CancelRun
                | Action::ConfirmStage
        )
        .then_some(action)
    }

    /// Whether what lies over the screen makes room for an action's dialog. What a person reads
    /// does, and what only waits does for an abort; what a person is deciding or typing does not.
    fn gives_way(&self, action: Action) -> bool {
        match &self.overlay {
            Some(Overlay::Help(_) | Overlay::Leave) => true,
            Some(Overlay::Confirm(dialog)) => match dialog.stage {
                Stage::Over { .. } => true,
                Stage::Waiting { .. } => action == Action::Abort,
                Stage::Prompting => false,
            },
            Some(Overlay::Palette(_)) | None => false,
        }
    }

    fn ctrl_c(&mut self, now_ms: u64) -> Vec<Cmd> {
        if self.settings.ctrl_c == CtrlC::EndsEverything {
            return vec![Cmd::Leave(ConsoleEnd::Interrupted)];
        }
        if now_ms < self.ctrl_c_until_ms {
            return vec![Cmd::Leave(ConsoleEnd::Left)];
        }
        self.ctrl_c_until_ms = now_ms + CTRL_C_MS;
        if !matches!(&self.overlay, Some(Overlay::Confirm(dialog)) if dialog.stage != Stage::Prompting)
        {
            self.overlay = None;
        }
        let note = "ctrl-c again leaves the console; rollouts go on";
        self.toast(note.to_owned(), now_ms);
        Vec::new()
    }

    fn confirm_key(&mut self, key: Key, company: Company, now_ms: u64) -> Vec<Cmd> {
        let you = self.you();
        let Some(Overlay::Confirm(dialog)) = &mut self.overlay else {
            return Vec::new();
        };
        match dialog.stage {
            Stage::Waiting { .. } => return Vec::new(),
            Stage::Over { .. } => {
                if let Key::Esc | Key::Enter | Key::Char('q') = key {
                    self.overlay = None;
                }
                return Vec::new();
            }
            Stage::Prompting => {}
        }
        // What cannot be read cannot be agreed to, save what must always work.
        let whole = confirm::fits(dialog, &self.theme, &you, self.size, now_ms);
        let tier = dialog.tier().filter(|_| whole || dialog.is_urgent());
        match dialog.guard.press(key, company, tier, now_ms) {
            Press::Stay => Vec::new(),
            Press::Cancel => {
                self.overlay = None;
                Vec::new()
            }
            Press::Confirm => self.send(now_ms),
        }
    }

    fn help_key(&mut self, mut help: Help, key: Key) {
        let by = match (key, self.keymap.action(key)) {
            (Key::Esc | Key::Enter, _) | (_, Some(Action::Help | Action::Quit)) => return,
            (_, Some(Action::Down)) => 1,
            (_, Some(Action::Up)) => -1,
            (_, Some(Action::PageDown | Action::Bottom)) => 10,
            (_, Some(Action::PageUp | Action::Top)) => -10,
            _ => 0,
        };
        help.scroll(by, &self.keymap);
        self.overlay = Some(Overlay::Help(help));
    }

    fn leave_key(&mut self, key: Key) -> Vec<Cmd> {
        match (key, self.keymap.action(key)) {
            (Key::Char('y'), _) | (_, Some(Action::Quit)) => vec![Cmd::Leave(ConsoleEnd::Left)],
            (Key::Esc | Key::Enter | Key::Char('n'), _) => Vec::new(),
            _ => {
                self.overlay = Some(Overlay::Leave);
                Vec::new()
            }
        }
    }

    fn pane_key(&mut self, key: Key, now_ms: u64) -> Vec<Cmd> {
        if let Key::Char(digit @ '0'..='9') = key {
            if let Some(pane) = Pane::ALL
                .into_iter()
                .find(|pane| pane.number() == Some(digit))
            {
                self.go_to(pane);
            }
            return Vec::new();
        }
        if let Some(action) = self.acting(key) {
            return self.acts(action, key, now_ms);
        }
        let Some(action) = self.keymap.action(key) else {
            return Vec::new();
        };
        match action {
            Action::Help => self.overlay = Some(Overlay::Help(Help::default())),
            Action::Palette => self.overlay = Some(Overlay::Palette(Palette::default())),
            Action::Redraw => return vec![Cmd::Redraw],
            Action::Suspend => return vec![Cmd::Suspend],
            Action::Quit => return self.back_or_quit(),
            Action::NextPane => self.step_pane(1),
            Action::PreviousPane => self.step_pane(-1),
            Action::Zoom => self.zoomed = !self.zoomed,
            Action::Pipelines => self.open_meant_run(),
            _ => self.look(action),
        }
        Vec::new()
    }

    fn back_or_quit(&mut self) -> Vec<Cmd> {
        if self.page == Page::Runs {
            self.go_to(self.runs.from);
            return Vec::new();
        }
        let alone = self.zoomed;
        if alone {
            self.zoomed = false;
            return Vec::new();
        }
        self.quit()
    }

    pub(super) fn quit(&mut self) -> Vec<Cmd> {
        let open = self
            .snapshot
            .as_ref()
            .is_some_and(|snapshot| leave::goes_on(snapshot));
        if open && self.link.connected {
            self.overlay = Some(Overlay::Leave);
            return Vec::new();
        }
        vec![Cmd::Leave(ConsoleEnd::Left)]
    }

    pub(super) fn go_to(&mut self, pane: Pane) {
        self.page = match pane {
            Pane::Fleet => Page::Fleet,
            Pane::Pipelines => Page::Runs,
            _ => Page::Place,
        };
        self.chosen = true;
        self.focus = pane;
        self.scroll = 0;
    }

    fn step_pane(&mut self, by: isize) {
        let panes = screen::reachable(self.page);
        let at = panes
            .iter()
            .position(|pane| *pane == self.focus)
            .unwrap_or(0);
        let next = (at as isize + by).rem_euclid(panes.len() as isize) as usize;
        self.go_to(panes[next]);
    }

    /// An action that only looks.
    fn look(&mut self, action: Action) {
        let plan = self.plan();
        let area = plan.panes.iter().find(|(pane, _)| *pane == self.focus);
        let page = area.map_or(1, |(_, area)| area.height.saturating_sub(2).max(1));
        let logs = matches!(
            action,
            Action::Search
                | Action::Filter
                | Action::NextMatch
                | Action::PreviousMatch
                | Action::Follow
                | Action::Wrap
                | Action::Source
        );
        if logs && !matches!(self.focus, Pane::EngineLog | Pane::Pipelines) {
            self.go_to(Pane::Logs);
        }
        let taken = match self.focus {
            Pane::Logs => self.logs.act(action, page),
            Pane::EngineLog => self.engine_log.act(action),
            Pane::Fleet => self.fleet(action),
            Pane::Pipelines => self.look_at_runs(action, page),
            Pane::Instances => self.instances(action, usize::from(page)),
            Pane::Run if action == Action::Open && self.run_here().is_some() => {
                self.open_meant_run();
                true
            }
            _ => self.scrolled(action, usize::from(page)),
        };
        if !taken && action == Action::Back {
            self.back();
        }
    }

    fn back(&mut self) {
        let several = self
            .snapshot
            .as_ref()
            .is_some_and(|s| s.placements.len() > 1);
        match self.page {
            _ if self.zoomed => self.zoomed = false,
            Page::Place if self.focus != Pane::Run => self.go_to(Pane::Run),
            Page::Place if several => self.go_to(Pane::Fleet),
            Page::Runs => self.go_to(self.runs.from),
            Page::Place | Page::Fleet => {}
        }
    }

    fn fleet(&mut self, action: Action) -> bool {
        let by = match action {
            Action::Up => -1,
            Action::Down => 1,
            Action::PageUp | Action::Top => isize::MIN / 2,
            Action::PageDown | Action::Bottom => isize::MAX / 2,
            Action::Open | Action::Right => {
                if self.view().is_some() {
                    self.go_to(Pane::Run);
                }
                return true;
            }
            _ => return false,
        };
        let next = self
            .snapshot
            .as_ref()
            .and_then(|snapshot| fleet::neighbour(snapshot, self.selected.as_ref(), by));
        self.select(next);
        true
    }

    /// Moves the selection among the instances; what is selected is a name.
    fn instances(&mut self, action: Action, page: usize) -> bool {
        let page = isize::try_from(page).unwrap_or(1);
        let by = match action {
            Action::Up => -1,
            Action::Down => 1,
            Action::PageUp => -page,
            Action::PageDown => page,
            Action::Top => isize::MIN / 2,
            Action::Bottom => isize::MAX / 2,
            _ => return false,
        };
        let selected = self.selected_instance().cloned();
        let view = self.view();
        self.instance = view.and_then(|view| instances::neighbour(view, selected.as_ref(), by));
        true
    }

    fn scrolled(&mut self, action: Action, page: usize) -> bool {
        let top = self.scroll;
        self.scroll = match action {
            Action::Up => top.saturating_sub(1),
            Action::Down => top + 1,
            Action::PageUp => top.saturating_sub(page),
            Action::PageDown => top + page,
            Action::Top => 0,
            Action::Bottom => usize::MAX / 2,
            _ => return false,
        };
        true
    }

    /// Learns from the last drawing how far the focused pane can be scrolled.
    pub fn drawn(&mut self, furthest: usize) {
        self.scroll = self.scroll.min(furthest);
    }
}

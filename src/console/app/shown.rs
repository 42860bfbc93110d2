//! What screens ask of the state: where things are, who looks, what is stale, what is possible.

use super::{App, Page};
use crate::console::keymap::Action;
use crate::console::pane::Pane;
use crate::console::screen::{self, Plan};
use crate::console::widget::text;
use crate::model::{Role, ServerName};
use crate::view::snapshot::{PhaseView, PlacementView, RolloutView};

impl App {
    /// Where everything is on the screen.
    pub fn plan(&self) -> Plan {
        let cells = usize::from(self.size.width).saturating_sub(2).max(1);
        let rows = self
            .guide_text()
            .map_or(0, |said| text::wrap(&said, cells).len().min(2) as u16);
        let alone = self.page != Page::Place || self.zoomed;
        let rows = screen::Extra {
            guide: rows,
            rail: self.rail_rows(),
        };
        let plan = screen::plan(self.size, alone.then_some(self.focus), rows);
        // A pane that has no room of its own here is shown alone.
        match plan.panes.iter().any(|(pane, _)| *pane == self.focus) {
            true => plan,
            false => screen::plan(self.size, Some(self.focus), rows),
        }
    }

    /// The selected placement's view.
    pub fn view(&self) -> Option<&PlacementView> {
        self.snapshot.as_ref()?.placement(self.selected.as_ref()?)
    }

    /// The selected instance, while it is there.
    pub fn selected_instance(&self) -> Option<&ServerName> {
        let rows = &self.view()?.instances;
        let chosen = self.instance.as_ref()?;
        rows.iter()
            .map(|row| &row.server)
            .find(|name| *name == chosen)
    }

    /// Why nothing at all can be sent; `None` if something can, as far as the screen knows.
    pub(super) fn cannot_send(&self) -> Option<String> {
        if !self.link.connected {
            return Some("not connected to an engine: nothing can be sent".to_owned());
        }
        self.only_looks()
    }

    /// The engine's time as last told; 0 before.
    pub fn engine_now_ms(&self) -> u64 {
        let snapshot = self.snapshot.as_ref();
        snapshot.map_or(0, |snapshot| snapshot.engine.now_ms)
    }

    /// Whether logs can be seen and read.
    pub(super) fn reads_logs(&self) -> bool {
        let seen = self
            .plan()
            .panes
            .iter()
            .any(|(pane, _)| *pane == Pane::Logs);
        let tiny = screen::is_tiny(self.size);
        self.link.connected && seen && !tiny && self.page == Page::Place
    }

    /// The guide's line for now.
    pub fn guide_text(&self) -> Option<String> {
        let guide = self.settings.guide.as_ref()?;
        guide(self.snapshot.as_deref()?)
    }

    /// The person, as the kernel told the engine.
    pub fn you(&self) -> String {
        let hello = self.link.hello.as_ref();
        hello.map_or_else(|| "nobody yet".to_owned(), |hello| hello.you.to_string())
    }

    /// The person and the engine's machine.
    pub fn who(&self) -> String {
        match (&self.link.hello, &self.snapshot) {
            (Some(hello), Some(snapshot)) => {
                let who = format!("{}@{}", hello.you, snapshot.engine.info.host);
                match hello.role {
                    Role::Viewer => format!("{who} (viewer)"),
                    Role::Operator => who,
                }
            }
            _ => String::new(),
        }
    }

    /// Whether engine and console read different configurations.
    pub fn differs(&self) -> bool {
        let hash = self.settings.config_hash.as_deref();
        let hello = self.link.hello.as_ref();
        hello.is_some_and(|hello| hello.differs(hash))
    }

    /// Why what is shown may be out of date; `None` while it is not.
    pub fn stale(&self) -> Option<String> {
        if self.link.connected {
            return None;
        }
        let why = match &self.link.why {
            Some(why) => format!(": {why}"),
            None => String::new(),
        };
        Some(match &self.snapshot {
            Some(snapshot) => {
                let since = text::time_of_day(snapshot.engine.now_ms);
                format!("STALE since {since} UTC{why}. Trying again; rollouts go on if it lives")
            }
            None => format!("CONNECTING{why}"),
        })
    }

    /// The note in the footer.
    pub fn toast_text(&self) -> Option<String> {
        self.toast.as_ref().map(|(text, _)| text.clone())
    }

    /// The newest record of the selected placement, as one line.
    pub fn last_record(&self) -> String {
        let rows = self.snapshot.iter().flat_map(|s| &s.engine.timeline);
        let mine = rows.rev().find(|row| row.placement == self.selected);
        mine.map_or_else(String::new, |row| {
            let at = text::time_of_day(row.at_ms);
            format!("{at} {}: {}", row.actor, row.text)
        })
    }

    /// What the hold key does now.
    pub fn hold_word(&self) -> &'static str {
        let open = self.view().and_then(|view| view.rollout.as_ref());
        // Nothing resumes a slot that waits for its switch: a person promotes.
        let held = |open: &RolloutView| open.hold.is_some() && open.phase != PhaseView::Ready;
        match open.is_some_and(held) {
            true => "resume",
            false => "hold",
        }
    }

    /// Why this person can do nothing here but look; `None` if they can. The engine has the last
    /// word, this one only comes sooner.
    pub(super) fn only_looks(&self) -> Option<String> {
        let role = self.link.hello.as_ref()?.role;
        let told = "you are a viewer here: you may look, an operator must act";
        (role == Role::Viewer).then(|| told.to_owned())
    }

    /// Why an action is not possible now; `None` if it is, as far as the screen knows.
    pub fn why_not(&self, action: Action) -> Option<String> {
        if matches!(action, Action::CancelRun | Action::ConfirmStage) {
            return self.why_not_run(action);
        }
        let acts = matches!(
            action,
            Action::Promote | Action::Abort | Action::Hold | Action::Rollback
        );
        if !acts {
            return None;
        }
        if let Some(why) = self.cannot_send() {
            return Some(why);
        }
        let Some(view) = self.view_meant() else {
            return Some("nothing is selected".to_owned());
        };
        match (action, &view.rollout, &view.rollback) {
            (Action::Rollback, _, None) => Some(format!(
                "{} has no earlier version to go to",
                view.placement
            )),
            (Action::Rollback, ..) => None,
            (_, None, _) => Some(format!("{} has no open rollout", view.placement)),
            _ => None,
        }
    }
}

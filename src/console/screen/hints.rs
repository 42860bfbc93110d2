//! The footer's keys: which are told where, and which first when it grows narrow.

use crate::console::app::{App, Page};
use crate::console::keymap::Action;
use crate::console::pane::pipelines::Level;
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use ratatui::text::Span;

/// The keys that mean something here; those that can do nothing now are muted.
pub(super) fn hints(app: &App, theme: &Theme, cells: usize) -> Vec<Span<'static>> {
    let all = match app.page {
        Page::Runs => of_runs(app),
        Page::Fleet | Page::Place => of_rollouts(app),
    };
    let mut spans = vec![Span::raw(" ")];
    let mut room = cells.saturating_sub(1);
    for (action, name) in all {
        let Some(key) = app.keymap.key(action).filter(|_| is_wanted(action, cells)) else {
            continue;
        };
        let key = key.to_string();
        let used = text::width(&key) + text::width(name) + 3;
        let last = used - 2;
        if last > room {
            continue;
        }
        room = room.saturating_sub(used);
        let muted = theme.style(Role::Muted);
        let (key_style, name_style) = match app.why_not(action) {
            Some(_) => (muted, muted),
            None => (theme.style(Role::KeyHint), theme.style(Role::Fg)),
        };
        spans.push(Span::styled(key, key_style));
        spans.push(Span::styled(format!(" {name}  "), name_style));
    }
    spans
}

/// Keys that mean something among the runs of pipelines.
fn of_runs(app: &App) -> Vec<(Action, &'static str)> {
    let deeper = match app.runs.level {
        Level::List => vec![(Action::Open, "open")],
        Level::Run => vec![(Action::Right, "output")],
        Level::Log => vec![
            (Action::Search, "search"),
            (Action::Filter, "filter"),
            (Action::Follow, "follow"),
        ],
    };
    let front = [
        (Action::CancelRun, "cancel run"),
        (Action::ConfirmStage, "let begin"),
    ];
    let rest = [
        (Action::Back, "back"),
        (Action::Palette, "command"),
        (Action::Help, "help"),
    ];
    // What is deployed from here is aborted from here.
    let abort = app.deploys_now().then_some((Action::Abort, "abort"));
    let front = abort.into_iter().chain(front);
    front.chain(deeper).chain(rest).collect()
}

fn of_rollouts(app: &App) -> Vec<(Action, &'static str)> {
    let mut all = vec![
        (Action::Promote, "promote"),
        (Action::Abort, "abort"),
        (Action::Rollback, "rollback"),
        (Action::Hold, app.hold_word()),
        (Action::NextPane, "pane"),
        (Action::Zoom, "zoom"),
        (Action::Search, "search"),
        (Action::Filter, "filter"),
        (Action::Follow, "follow"),
        (Action::Palette, "command"),
        (Action::Help, "help"),
        (Action::Quit, "quit"),
    ];
    if app.has_runs() {
        all.insert(4, (Action::Pipelines, "pipelines"));
    }
    all
}

/// What is left out first when it grows narrow.
fn is_wanted(action: Action, cells: usize) -> bool {
    match action {
        Action::Follow | Action::Filter | Action::Pipelines => cells >= 110,
        Action::NextPane => cells >= 90,
        Action::Zoom => cells >= 84,
        Action::Search => cells >= 76,
        _ => true,
    }
}

//! Quitting: the console goes, rollouts do not.

use super::boxed;
use crate::console::screen::Canvas;
use crate::console::theme::Role;
use crate::console::widget::text;
use crate::view::{RunView, Snapshot};
use ratatui::text::Line;

/// Draws the question.
pub fn draw(snapshot: Option<&Snapshot>, canvas: &mut Canvas<'_, '_>) {
    let theme = canvas.theme;
    let open = open(snapshot);
    let width = 64.min(canvas.frame.area().width);
    let cells = usize::from(width.saturating_sub(4)).max(1);
    let said = format!(
        "{open} without this console: the engine is another process. \
         Come back with `wheelhouse`."
    );
    let mut lines: Vec<_> = text::wrap(&said, cells)
        .into_iter()
        .map(Line::from)
        .collect();
    lines.push(Line::default());
    lines.push(Line::styled(
        "q leave    H hold first    A abort first    Esc stay",
        theme.style(Role::KeyHint),
    ));
    let style = theme.style(Role::BorderFocus);
    boxed(canvas, "Leave the console", style, lines, width);
}

/// Whether anything is under way that goes on without a console.
pub fn goes_on(snapshot: &Snapshot) -> bool {
    let rollout = snapshot
        .placements
        .iter()
        .any(|view| view.rollout.is_some());
    rollout || snapshot.runs.iter().any(RunView::is_open)
}

/// What goes on: "Rollout #1841 goes on", "Rollout #1841, run p12 go on".
pub fn open(snapshot: Option<&Snapshot>) -> String {
    let Some(snapshot) = snapshot else {
        return String::new();
    };
    let placements = snapshot.placements.iter();
    let rollouts = placements.filter_map(|view| Some(view.rollout.as_ref()?.number.to_string()));
    let rollouts: Vec<_> = rollouts.collect();
    let runs = snapshot.runs.iter().filter(|run| run.is_open());
    let runs: Vec<_> = runs.map(|run| run.number.to_string()).collect();
    let named = [named("Rollout", &rollouts), named("Run", &runs)];
    let named: Vec<_> = named.into_iter().flatten().collect();
    match rollouts.len() + runs.len() {
        0 => String::new(),
        1 => format!("{} goes on", named.join(", ")),
        _ => format!("{} go on", named.join(", ")),
    }
}

fn named(word: &str, numbers: &[String]) -> Option<String> {
    match numbers {
        [] => None,
        [one] => Some(format!("{word} {one}")),
        many => Some(format!("{word}s {}", many.join(", "))),
    }
}

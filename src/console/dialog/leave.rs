//! Quitting: the console goes, rollouts do not.

use super::boxed;
use crate::console::screen::Canvas;
use crate::console::theme::Role;
use crate::console::widget::text;
use crate::view::Snapshot;
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

/// What goes on: "Rollout #1841 goes on".
pub fn open(snapshot: Option<&Snapshot>) -> String {
    let numbers: Vec<_> = snapshot
        .into_iter()
        .flat_map(|snapshot| &snapshot.placements)
        .filter_map(|view| Some(view.rollout.as_ref()?.number.to_string()))
        .collect();
    match numbers.as_slice() {
        [] => String::new(),
        [one] => format!("Rollout {one} goes on"),
        many => format!("Rollouts {} go on", many.join(", ")),
    }
}

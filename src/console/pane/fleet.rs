//! Pane 0: every service in every environment. What is selected is a name, never a row number.

use super::{Pane, Slot};
use crate::console::screen::Canvas;
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::model::{Placement, Status};
use crate::view::Snapshot;
use crate::view::snapshot::PlacementView;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// The neighbour of a placement `by` rows away in the order shown; the first one where it is
/// gone.
pub fn neighbour(
    snapshot: &Snapshot,
    selected: Option<&Placement>,
    by: isize,
) -> Option<Placement> {
    let rows = &snapshot.placements;
    let at = rows.iter().position(|row| Some(&row.placement) == selected);
    let next = match at {
        Some(at) => at
            .saturating_add_signed(by)
            .min(rows.len().saturating_sub(1)),
        None => 0,
    };
    rows.get(next).map(|row| row.placement.clone())
}

/// Draws it.
pub fn draw(
    snapshot: &Snapshot,
    selected: Option<&Placement>,
    canvas: &mut Canvas<'_, '_>,
    slot: Slot,
) {
    let theme = canvas.theme;
    let count = format!("{} placements", snapshot.placements.len());
    let inner = super::indent(super::frame(canvas, slot, Pane::Fleet, "", &count));
    let cells = usize::from(inner.width);
    if snapshot.placements.is_empty() {
        let text = "the engine's configuration names no service in any environment";
        let line = Line::styled(text, theme.style(Role::Muted));
        super::lines(canvas, inner, vec![line], 0);
        return;
    }
    let heading = row_of(theme, ["SERVICE", "ENVIRONMENT", "STABLE", "STATE"], cells);
    let mut lines = vec![Line::styled(heading, theme.style(Role::Muted))];
    let mut at = 0;
    for (n, view) in snapshot.placements.iter().enumerate() {
        let chosen = Some(&view.placement) == selected;
        if chosen {
            at = n + 1;
        }
        lines.push(placement(theme, view, chosen, cells));
    }
    let top = (at + 1).saturating_sub(usize::from(inner.height));
    super::lines(canvas, inner, lines, top);
}

fn row_of(theme: &Theme, texts: [&str; 4], cells: usize) -> String {
    let symbols = &theme.symbols;
    let state = cells.saturating_sub(2 + 22 + 15 + 12);
    format!(
        "  {}{}{}{}",
        text::left(texts[0], 21, symbols) + " ",
        text::left(texts[1], 14, symbols) + " ",
        text::left(texts[2], 11, symbols) + " ",
        text::fit(texts[3], state, symbols),
    )
}

fn placement(theme: &Theme, view: &PlacementView, chosen: bool, cells: usize) -> Line<'static> {
    let stable = view
        .stable
        .as_ref()
        .map_or("-", |stable| stable.version.as_str());
    let (state, style) = state(theme, view);
    let pointer = if chosen { theme.symbols.pointer } else { " " };
    let place = &view.placement;
    let texts = [
        place.service.as_str(),
        place.environment.as_str(),
        stable,
        "",
    ];
    let row = row_of(theme, texts, cells);
    let front = format!("{pointer} {}", text::skip(&row, 2));
    let room = cells.saturating_sub(text::width(&front));
    let line = Line::from(vec![
        Span::raw(front),
        Span::styled(text::left(&state, room, &theme.symbols), style),
    ]);
    match chosen {
        true => line.style(theme.selection()),
        false => line,
    }
}

/// A placement's state in a few words.
pub fn state(theme: &Theme, view: &PlacementView) -> (String, Style) {
    let symbols = &theme.symbols;
    if let Some(open) = &view.rollout {
        let share = view.traffic.wanted_percent.unwrap_or(0.0);
        let held = if open.hold.is_some() { " held" } else { "" };
        let (mark, role) = match open.hold {
            Some(_) => (symbols.held, Role::Warn),
            None => (symbols.running, Role::Running),
        };
        let text = format!(
            "{mark} {} {} at {share:.0}%{held}, {}",
            open.number,
            open.release.version,
            open.verdict.word()
        );
        return (text, theme.style(role));
    }
    match &view.last {
        None => ("nothing deployed yet".to_owned(), theme.style(Role::Muted)),
        Some(last) => {
            let (mark, role) = match last.status {
                Status::Succeeded => (symbols.passed, Role::Ok),
                _ => (symbols.failed, Role::Fail),
            };
            let at = text::day_and_time(last.at_ms);
            let text = format!(
                "{mark} {} {} {} {at}",
                last.number,
                last.release.version,
                last.status.word()
            );
            (text, theme.style(role))
        }
    }
}

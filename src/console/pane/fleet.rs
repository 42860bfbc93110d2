//! Pane 0: every service in every environment. What is selected is a name, never a row number.

use super::pipelines::mark;
use super::{Pane, Slot};
use crate::console::screen::Canvas;
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::model::{Placement, Status};
use crate::view::Snapshot;
use crate::view::snapshot::{PhaseView, PlacementView, RolloutView};
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
    let titles = ["SERVICE", "ENVIRONMENT", "STABLE", "ROLLBACK", "STATE"];
    let heading = row_of(theme, titles, cells);
    let mut lines = vec![Line::styled(heading, theme.style(Role::Muted))];
    let mut at = 0;
    for view in &snapshot.placements {
        let chosen = Some(&view.placement) == selected;
        let coming = coming(theme, snapshot, view);
        lines.extend(placement(theme, view, coming, chosen, cells));
        if chosen {
            at = lines.len() - 1;
        }
    }
    let top = (at + 1).saturating_sub(usize::from(inner.height));
    super::lines(canvas, inner, lines, top);
}

/// Cells of the column that says how ready a rollback is; none where the state needs them.
fn rollback_cells(cells: usize) -> usize {
    if cells >= 104 { 26 } else { 0 }
}

fn row_of(theme: &Theme, texts: [&str; 5], cells: usize) -> String {
    let symbols = &theme.symbols;
    let back = rollback_cells(cells);
    let state = cells.saturating_sub(2 + 22 + 15 + 12 + back);
    let mut row = format!(
        "  {}{}{}",
        text::left(texts[0], 21, symbols) + " ",
        text::left(texts[1], 14, symbols) + " ",
        text::left(texts[2], 11, symbols) + " ",
    );
    if back > 0 {
        row.push_str(&(text::left(texts[3], back - 1, symbols) + " "));
    }
    row.push_str(&text::fit(texts[4], state, symbols));
    row
}

/// Where `R` would go and how ready that is, as far as it is known.
fn readiness(view: &PlacementView) -> String {
    let Some(back) = &view.rollback else {
        return "-".to_owned();
    };
    match back.warm_until_ms {
        Some(until_ms) => format!("{} warm to {}", back.version, text::time_of_day(until_ms)),
        None => {
            let ready = back.readiness.as_str();
            let short = ready.split(" (").next().unwrap_or(ready);
            format!("{} {short}", back.version)
        }
    }
}

/// The run of a pipeline that is on its way to a placement: `▶ p12 test 00:42 of 01:10`.
fn coming(theme: &Theme, snapshot: &Snapshot, view: &PlacementView) -> Option<Span<'static>> {
    let run = mark::on_its_way(&snapshot.runs, &view.placement)?;
    let (symbol, style) = mark::run_mark(theme, run);
    let how_far = mark::how_far(run, snapshot.engine.now_ms);
    Some(Span::styled(
        format!("{symbol} {} {how_far}", run.number),
        style,
    ))
}

/// A placement's line, and one more where what is on its way to it has no room on the first.
fn placement(
    theme: &Theme,
    view: &PlacementView,
    coming: Option<Span<'static>>,
    chosen: bool,
    cells: usize,
) -> Vec<Line<'static>> {
    let (state, style) = state(theme, view);
    let front = front(theme, view, chosen, cells);
    let room = cells.saturating_sub(text::width(&front));
    let mut first = vec![Span::raw(front)];
    let beside = coming
        .as_ref()
        .and_then(|run| room.checked_sub(text::width(&state) + 3 + text::width(&run.content)));
    let below = match (beside, coming) {
        (Some(blanks), Some(run)) => {
            first.push(Span::styled(format!("{state}   "), style));
            first.extend([run, Span::raw(" ".repeat(blanks))]);
            None
        }
        (_, coming) => {
            let state = text::left(&state, room, &theme.symbols);
            first.push(Span::styled(state, style));
            coming.map(|run| below(theme, &run, cells))
        }
    };
    let lines = [Some(Line::from(first)), below].into_iter().flatten();
    lines
        .map(|line| match chosen {
            true => line.style(theme.selection()),
            false => line,
        })
        .collect()
}

/// What stands before a placement's state.
fn front(theme: &Theme, view: &PlacementView, chosen: bool, cells: usize) -> String {
    let stable = view
        .stable
        .as_ref()
        .map_or("-", |stable| stable.version.as_str());
    let pointer = if chosen { theme.symbols.pointer } else { " " };
    let place = &view.placement;
    let texts = [
        place.service.as_str(),
        place.environment.as_str(),
        stable,
        &readiness(view),
        "",
    ];
    let row = row_of(theme, texts, cells);
    format!("{pointer} {}", text::skip(&row, 2))
}

/// What is on its way, on a line of its own.
fn below(theme: &Theme, run: &Span<'_>, cells: usize) -> Line<'static> {
    let said = text::left(&run.content, cells.saturating_sub(4), &theme.symbols);
    Line::from(vec![Span::raw("    "), Span::styled(said, run.style)])
}

/// `at 25%`, `batch 2/3`, `ready to switch`, `NO SERVICE`.
fn how_far(view: &PlacementView, open: &RolloutView) -> String {
    let down = open.outage.is_some_and(|outage| outage.until_ms.is_none());
    match (open.phase, &open.batch) {
        (PhaseView::Reverting, _) => "taken back".to_owned(),
        _ if down => "NO SERVICE".to_owned(),
        (PhaseView::Ready, _) => "ready to switch".to_owned(),
        (_, Some(batch)) => format!("batch {}/{}", batch.number, batch.of),
        _ => format!("at {:.0}%", view.traffic.wanted_percent.unwrap_or(0.0)),
    }
}

/// A placement's state in a few words.
pub fn state(theme: &Theme, view: &PlacementView) -> (String, Style) {
    let symbols = &theme.symbols;
    if let Some(open) = &view.rollout {
        let held = if open.hold.is_some() { " held" } else { "" };
        let (mark, role) = match open.hold {
            Some(_) => (symbols.held, Role::Warn),
            None => (symbols.running, Role::Running),
        };
        let text = format!(
            "{mark} {} {} {}{held}, {}",
            open.number,
            open.release.version,
            how_far(view, open),
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

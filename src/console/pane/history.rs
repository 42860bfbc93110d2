//! Pane 5: the newest records, and the newest rollouts where there is room for both.

use super::{Pane, Slot};
use crate::console::screen::Canvas;
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::model::entry::DeploymentRow;
use crate::model::{Placement, Status};
use crate::view::Snapshot;
use crate::view::snapshot::TimelineRow;
use crate::view::words;
use ratatui::text::{Line, Span};

/// Deployments asked for.
pub const ROWS: u32 = 50;

/// Rows from which on the pane shows deployments too.
const BOTH_ROWS: u16 = 16;

/// What the history pane shows beyond the snapshot.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The newest deployments, newest first.
    pub rows: Vec<DeploymentRow>,
    /// What was open and what had closed when they were asked for.
    pub asked_at: Option<String>,
}

/// What makes another look at the deployments worthwhile.
pub fn mark(snapshot: &Snapshot) -> String {
    let marks = snapshot.placements.iter().map(|view| {
        let open = view.rollout.as_ref().map(|open| open.number.0);
        let last = view.last.as_ref().map(|last| last.number.0);
        format!("{open:?} {last:?}")
    });
    marks.collect::<Vec<_>>().join(";")
}

/// Draws it; returns how far it can be scrolled.
pub fn draw(
    history: &History,
    snapshot: &Snapshot,
    placement: &Placement,
    top: usize,
    canvas: &mut Canvas<'_, '_>,
    slot: Slot,
) -> usize {
    let theme = canvas.theme;
    let inner = super::indent(super::frame(
        canvas,
        slot,
        Pane::History,
        "newest first",
        "",
    ));
    let cells = usize::from(inner.width);
    let mut lines = Vec::new();
    let mine: Vec<_> = history
        .rows
        .iter()
        .filter(|row| {
            row.service == placement.service.as_str()
                && row.environment == placement.environment.as_str()
        })
        .collect();
    if inner.height >= BOTH_ROWS && !mine.is_empty() {
        let room = usize::from(inner.height) / 3;
        lines.extend(
            mine.iter()
                .take(room)
                .map(|row| deployment(theme, row, cells)),
        );
        lines.push(Line::default());
    }
    let rows = snapshot
        .engine
        .timeline
        .iter()
        .rev()
        .filter(|row| row.placement.as_ref().is_none_or(|of| of == placement));
    lines.extend(rows.map(|row| record(theme, row, cells)));
    if lines.is_empty() {
        lines.push(Line::styled("no record yet", theme.style(Role::Muted)));
    }
    super::lines(canvas, inner, lines, top)
}

fn deployment(theme: &Theme, row: &DeploymentRow, cells: usize) -> Line<'static> {
    let symbols = &theme.symbols;
    let (mark, role) = match row.status {
        Status::Succeeded if row.rolled_back => (symbols.skipped, Role::Muted),
        Status::Succeeded => (symbols.passed, Role::Ok),
        Status::Failed | Status::RolledBack => (symbols.failed, Role::Fail),
        Status::Pending | Status::InProgress => (symbols.running, Role::Running),
    };
    let took = row.duration_ms.map(words::clock).unwrap_or_default();
    let front = format!("{mark} {:<6}", row.number.to_string());
    let rest = format!(
        "{} {:<12} {:>6}  {}  {}",
        text::left(row.version.as_str(), 10, symbols),
        row.status.word(),
        took,
        text::day_and_time(row.started_at),
        row.actor,
    );
    let room = cells.saturating_sub(text::width(&front));
    Line::from(vec![
        Span::styled(front, theme.style(role)),
        Span::raw(text::fit(&rest, room, symbols)),
    ])
}

fn record(theme: &Theme, row: &TimelineRow, cells: usize) -> Line<'static> {
    let symbols = &theme.symbols;
    let front = format!(
        "{} {} ",
        text::time_of_day(row.at_ms),
        text::left(row.actor.as_str(), 7, symbols)
    );
    let room = cells.saturating_sub(text::width(&front));
    let said = row.text.as_str();
    let role = match said {
        _ if said.starts_with("taken back") || said.starts_with("rolled_back") => Role::Fail,
        _ if said.starts_with("failed") || said.starts_with("verdict fail") => Role::Fail,
        _ if said.starts_with("held") || said.starts_with("drift") => Role::Warn,
        _ if said.starts_with("done") => Role::Ok,
        _ => Role::Fg,
    };
    Line::from(vec![
        Span::styled(front, theme.style(Role::Muted)),
        Span::styled(text::fit(said, room, symbols), theme.style(role)),
    ])
}

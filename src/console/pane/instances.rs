//! Pane 6: what stands behind each server: our own probe beside the balancer's view of it.

use super::{Pane, Slot};
use crate::console::screen::Canvas;
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::model::ServerName;
use crate::view::snapshot::{InstanceRow, PlacementView, Role as Part};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// The rows in the order shown: what is new first.
pub fn rows(view: &PlacementView) -> Vec<&InstanceRow> {
    let mut rows: Vec<_> = view.instances.iter().collect();
    rows.sort_by_key(|row| (order(row.role), row.server.clone()));
    rows
}

/// The neighbour of an instance `by` rows away in the order shown; the first one where it is gone.
pub fn neighbour(
    view: &PlacementView,
    selected: Option<&ServerName>,
    by: isize,
) -> Option<ServerName> {
    let rows = rows(view);
    let at = rows.iter().position(|row| Some(&row.server) == selected);
    let next = match at {
        Some(at) => at
            .saturating_add_signed(by)
            .min(rows.len().saturating_sub(1)),
        None => 0,
    };
    rows.get(next).map(|row| row.server.clone())
}

/// Draws it; returns how far it can be scrolled. The selected instance is always in sight.
pub fn draw(
    view: &PlacementView,
    selected: Option<&ServerName>,
    top: usize,
    canvas: &mut Canvas<'_, '_>,
    slot: Slot,
) -> usize {
    let theme = canvas.theme;
    let healthy = view
        .instances
        .iter()
        .filter(|row| row.healthy == Some(true));
    let drained = view.instances.iter().filter(|row| row.out).count();
    let drained = match drained {
        0 => String::new(),
        some => format!(", {some} drained"),
    };
    let state = match view.instances.len() {
        0 => String::new(),
        all => format!("{}/{all} healthy{drained}", healthy.count()),
    };
    let inner = super::indent(super::frame(canvas, slot, Pane::Instances, "", &state));
    let cells = usize::from(inner.width);
    let rows = rows(view);
    let mut lines = Vec::new();
    if rows.is_empty() {
        lines.push(Line::styled(
            "no instance is known",
            theme.style(Role::Muted),
        ));
    } else {
        lines.push(heading(theme, cells));
    }
    let mut at = None;
    for row in rows {
        let mut drawn = instance(theme, row, cells);
        if Some(&row.server) == selected {
            at = Some(lines.len() + drawn.len());
            drawn = drawn
                .into_iter()
                .map(|line| line.style(theme.selection()))
                .collect();
        }
        lines.extend(drawn);
    }
    let top = match at {
        Some(at) => at.saturating_sub(usize::from(inner.height)),
        None => top,
    };
    super::lines(canvas, inner, lines, top)
}

fn order(part: Part) -> u8 {
    match part {
        Part::Canary => 0,
        Part::Stable => 1,
        Part::Warm => 2,
    }
}

/// A role's word and style.
pub(super) fn part(theme: &Theme, part: Part) -> (&'static str, ratatui::style::Style) {
    match part {
        Part::Stable => ("stable", theme.style(Role::Stable)),
        Part::Canary => ("canary", theme.style(Role::Canary)),
        Part::Warm => ("warm", theme.style(Role::Muted)),
    }
}

/// Columns that come one by one as the pane grows wider.
const WIDER: [(usize, &str, usize); 6] = [
    (50, "WEIGHT", 7),
    (60, "FLIGHT", 7),
    (76, "REQUESTS", 10),
    (76, "ERRORS", 8),
    (100, "RESTARTS", 9),
    (110, "PID", 8),
];

/// Widths of server, probe and balancer, and what the last is called, by the room there is.
fn narrow(cells: usize) -> (usize, usize, usize, &'static str) {
    match cells < 42 {
        true => (7, 9, 5, "LB"),
        false => (8, 10, 8, "BALANCER"),
    }
}

fn heading(theme: &Theme, cells: usize) -> Line<'static> {
    let (server, probe, balancer, name) = narrow(cells);
    let mut line = format!(
        "{:<7}{:<server$}{:<9}{:<probe$}{:<balancer$}",
        "ROLE", "SERVER", "VERSION", "PROBE", name
    );
    for (_, name, width) in WIDER.iter().filter(|(at, ..)| cells >= *at) {
        line.push_str(&format!("{name:>width$}"));
    }
    Line::styled(
        text::fit(&line, cells, &theme.symbols),
        theme.style(Role::Muted),
    )
}

/// A probe that passes, with its time where the column holds it.
fn passed(row: &InstanceRow, mark: &str, cells: usize) -> String {
    let timed = row.probe_ms.map(|ms| format!("{mark} ok {ms}ms"));
    timed
        .filter(|text| text::width(text) < cells)
        .unwrap_or_else(|| format!("{mark} ok"))
}

fn instance(theme: &Theme, row: &InstanceRow, cells: usize) -> Vec<Line<'static>> {
    let symbols = &theme.symbols;
    let (server, wide_probe, wide_balancer, _) = narrow(cells);
    let (role, role_style) = part(theme, row.role);
    let (probe, style) = match (row.healthy, row.status.as_str()) {
        (Some(true), "up") => (
            passed(row, symbols.passed, wide_probe),
            theme.style(Role::Ok),
        ),
        (Some(true), status) => (status.to_owned(), theme.style(Role::Running)),
        (Some(false), _) => (format!("{} fails", symbols.failed), theme.style(Role::Fail)),
        (None, status) => (status.to_owned(), theme.style(Role::Waiting)),
    };
    let (balancer, balancer_style) = match (row.out, row.balancer.as_str()) {
        (true, _) if wide_balancer < 8 => ("out", theme.style(Role::Warn)),
        (true, _) => ("drained", theme.style(Role::Warn)),
        (false, "") => ("-", Style::default()),
        (false, word) => (word, Style::default()),
    };
    let mut spans = vec![
        Span::styled(text::left(role, 7, symbols), role_style),
        Span::raw(text::left(row.server.as_str(), server - 1, symbols) + " "),
        Span::raw(text::left(row.version.as_str(), 8, symbols) + " "),
        Span::styled(text::left(&probe, wide_probe, symbols), style),
        Span::styled(text::left(balancer, wide_balancer, symbols), balancer_style),
    ];
    let optional = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |v| v.to_string());
    let values = [
        optional(row.weight.map(u64::from)),
        optional(row.sessions),
        row.requests.to_string(),
        row.errors.to_string(),
        row.restarts.to_string(),
        optional(row.pid.map(u64::from)),
    ];
    for ((at, _, width), value) in WIDER.iter().zip(values) {
        if cells >= *at {
            spans.push(Span::raw(text::right(&value, *width, symbols)));
        }
    }
    let mut lines = vec![Line::from(spans)];
    if let Some(trouble) = &row.trouble {
        let said = text::fit(&format!("       {trouble}"), cells, symbols);
        lines.push(Line::styled(said, theme.style(Role::Fail)));
    }
    lines
}

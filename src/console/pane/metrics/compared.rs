//! What comparisons with stable say in the Metrics pane: the evidence in the row, sentences below the
//! table.

use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::view::snapshot::{MetricRow, PlacementView};
use ratatui::text::Line;

/// The evidence of a comparison against what is enough: `2.1/100`.
pub(super) fn evidence(row: &MetricRow) -> String {
    let Some(compared) = &row.compared else {
        return "-".to_owned();
    };
    match compared.evidence {
        evidence if evidence >= 1e4 => format!("{evidence:.0e}/{:.0}", compared.enough),
        evidence if evidence >= 9.95 => format!("{evidence:.0}/{:.0}", compared.enough),
        evidence => format!("{evidence:.1}/{:.0}", compared.enough),
    }
}

/// What comparisons say, in sentences below the table.
pub(super) fn sentences(theme: &Theme, view: &PlacementView, cells: usize) -> Vec<Line<'static>> {
    let rows = view.metrics.iter();
    let notes = rows.filter_map(|row| row.note.as_ref().filter(|_| is_compared(row)));
    let lines = notes.flat_map(|note| {
        let text = match theme.symbols.ascii {
            true => note.as_str().replace('×', "x").replace('–', "-"),
            false => note.as_str().to_owned(),
        };
        text::wrap(&text, cells)
    });
    let style = theme.style(Role::Muted);
    lines.map(|line| Line::styled(line, style)).collect()
}

/// Whether a row is of a comparison, made or awaited.
fn is_compared(row: &MetricRow) -> bool {
    row.compared.is_some() || row.name.as_str().ends_with("compared")
}

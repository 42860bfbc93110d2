//! The panes. Their numbers are fixed; those of features that are not there leave gaps.

pub mod engine_log;
pub mod fleet;
pub mod history;
pub mod instances;
pub mod logs;
pub mod metrics;
pub mod pipelines;
pub mod run;

use super::screen::Canvas;
use super::theme::Role;
use super::widget::text;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

/// A pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // The names say it.
pub enum Pane {
    Fleet,
    Run,
    Metrics,
    Logs,
    History,
    Instances,
    EngineLog,
    Pipelines,
}

impl Pane {
    /// All, by number.
    pub const ALL: [Self; 8] = [
        Self::Fleet,
        Self::Run,
        Self::Metrics,
        Self::Logs,
        Self::History,
        Self::Instances,
        Self::EngineLog,
        Self::Pipelines,
    ];

    /// Its number and key; `None` for the one that has a key like any action.
    pub fn number(self) -> Option<char> {
        Some(match self {
            Self::Fleet => '0',
            Self::Run => '1',
            Self::Metrics => '2',
            Self::Logs => '3',
            Self::History => '5',
            Self::Instances => '6',
            Self::EngineLog => '8',
            Self::Pipelines => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fleet => "Fleet",
            Self::Run => "Run",
            Self::Metrics => "Metrics",
            Self::Logs => "Logs",
            Self::History => "History",
            Self::Instances => "Instances",
            Self::EngineLog => "Engine log",
            Self::Pipelines => "Pipelines",
        }
    }
}

/// Where and how a pane is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Its place with the frame.
    pub area: Rect,
    /// Whether it has the focus.
    pub focused: bool,
}

/// Draws a pane's frame with a text left and one right in its upper line; returns what is inside.
pub(super) fn frame(
    canvas: &mut Canvas<'_, '_>,
    slot: Slot,
    pane: Pane,
    about: &str,
    state: &str,
) -> Rect {
    let theme = canvas.theme;
    let symbols = &theme.symbols;
    let (set, style) = match slot.focused {
        true => (symbols.border_focus, theme.style(Role::BorderFocus)),
        false => (symbols.border, theme.style(Role::Border)),
    };
    let name = match pane.number() {
        Some(number) => format!(" {number} {} ", pane.name()),
        None => format!(" {} ", pane.name()),
    };
    let room = usize::from(slot.area.width.saturating_sub(2));
    let state = match state {
        "" => String::new(),
        state => format!(" {state} "),
    };
    let left = room.saturating_sub(text::width(&name));
    let state = if text::width(&state) <= left {
        state
    } else {
        String::new()
    };
    let left = left.saturating_sub(text::width(&state) + 1);
    let about = match about {
        _ if left < 4 => String::new(),
        "" => String::new(),
        about => text::fit(&format!("{about} "), left, symbols),
    };
    let title = Line::from(vec![
        Span::styled(name, theme.style(Role::Title)),
        Span::styled(about, theme.style(Role::Muted)),
    ]);
    let mut block = Block::bordered()
        .border_set(set)
        .border_style(style)
        .title(title);
    if !state.is_empty() {
        let state = Line::styled(state, theme.style(Role::Muted));
        block = block.title(state.right_aligned());
    }
    let inner = block.inner(slot.area);
    canvas.frame.render_widget(block, slot.area);
    inner
}

/// Draws lines from `top` on, as many as fit; returns the furthest `top` that makes sense.
pub(super) fn lines(
    canvas: &mut Canvas<'_, '_>,
    inner: Rect,
    lines: Vec<Line<'_>>,
    top: usize,
) -> usize {
    let furthest = lines.len().saturating_sub(usize::from(inner.height));
    let top = top.min(furthest);
    let shown: Vec<_> = lines
        .into_iter()
        .skip(top)
        .take(usize::from(inner.height))
        .collect();
    canvas.frame.render_widget(Paragraph::new(shown), inner);
    furthest
}

/// The area without one column on either side.
pub(super) fn indent(inner: Rect) -> Rect {
    Rect {
        x: inner.x.saturating_add(1.min(inner.width)),
        width: inner.width.saturating_sub(2),
        ..inner
    }
}

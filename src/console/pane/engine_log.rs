//! Pane 8: the engine's own log where it is known, and the console's, by tui-logger.

use super::{Pane, Slot};
use crate::console::keymap::Action;
use crate::console::screen::Canvas;
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::model::Clean;
use ratatui::text::{Line, Span};
use tui_logger::{ExtLogRecord, LogFormatter, TuiLoggerWidget, TuiWidgetEvent, TuiWidgetState};

/// Longest line kept.
const CHARS_MAX: usize = 400;

/// What the engine's lines are logged as.
const ENGINE: &str = "engine";

/// The pane's state.
#[derive(Default)]
pub struct EngineLog {
    state: TuiWidgetState,
}

impl EngineLog {
    /// Takes an action; false if it means nothing here.
    pub fn act(&self, action: Action) -> bool {
        let event = match action {
            Action::Up | Action::PageUp => TuiWidgetEvent::PrevPageKey,
            Action::Down | Action::PageDown => TuiWidgetEvent::NextPageKey,
            Action::Bottom | Action::Follow => TuiWidgetEvent::EscapeKey,
            _ => return false,
        };
        self.state.transition(event);
        true
    }
}

/// A line of the engine's log file: when, how loud, what. The parts as tracing writes them:
/// `2026-11-20T12:03:42.123456Z  INFO wheelhouse::driver: text`.
fn parts(line: &str) -> Option<(&str, &str, &str)> {
    let (when, rest) = line.split_once(' ')?;
    let time = when.split_once('T')?.1.get(..8)?;
    let (level, rest) = rest.trim_start().split_once(' ')?;
    let said = match rest.split_once(": ") {
        Some((target, said)) if !target.contains(' ') => said,
        _ => rest,
    };
    Some((time, level, said))
}

/// Takes one line of the engine's log file into the pane, with its own time and level.
pub fn engine_line(line: &str) {
    let line = Clean::line(line, CHARS_MAX);
    let Some((time, level, said)) = parts(line.as_str()) else {
        tracing::info!(target: ENGINE, "         {line}");
        return;
    };
    match level {
        "ERROR" => tracing::error!(target: ENGINE, "{time} {said}"),
        "WARN" => tracing::warn!(target: ENGINE, "{time} {said}"),
        "DEBUG" | "TRACE" => tracing::debug!(target: ENGINE, "{time} {said}"),
        _ => tracing::info!(target: ENGINE, "{time} {said}"),
    }
}

/// Lines as the other panes show them: time, level, who, what.
struct Rows {
    theme: Theme,
}

impl LogFormatter for Rows {
    fn min_width(&self) -> u16 {
        8
    }

    fn format(&self, width: usize, record: &ExtLogRecord) -> Vec<Line<'_>> {
        let level = record.level.to_string();
        let role = match level.as_str() {
            "ERROR" => Role::LogError,
            "WARN" => Role::LogWarn,
            "INFO" => Role::LogInfo,
            _ => Role::LogDebug,
        };
        let said = record.msg().trim_start();
        let (time, who, said) = match record.target() {
            ENGINE => {
                let (time, said) = said.split_once(' ').unwrap_or(("", said));
                (time.to_owned(), "engine ", said)
            }
            _ => {
                let at = record.timestamp.timestamp().as_millisecond();
                let time = text::time_of_day(u64::try_from(at).unwrap_or(0));
                (time, "console", said)
            }
        };
        let front = format!("{time:<8} {level:<5} {who} ");
        let blank = " ".repeat(text::width(&front));
        let room = width.saturating_sub(text::width(&front)).max(8);
        text::wrap(said, room)
            .into_iter()
            .enumerate()
            .map(|(n, part)| {
                let front = if n == 0 { front.clone() } else { blank.clone() };
                Line::from(vec![
                    Span::styled(front, self.theme.style(Role::Muted)),
                    Span::styled(part, self.theme.style(role)),
                ])
            })
            .collect()
    }
}

/// Draws it.
pub fn draw(log: &EngineLog, canvas: &mut Canvas<'_, '_>, slot: Slot) {
    tui_logger::move_events();
    let theme = canvas.theme;
    let inner = super::frame(canvas, slot, Pane::EngineLog, "and the console's", "");
    let inner = super::indent(inner);
    if inner.height < 2 || inner.width < 8 {
        return;
    }
    let rows = Rows {
        theme: theme.clone(),
    };
    let widget = TuiLoggerWidget::default()
        .style(theme.base())
        .formatter(Box::new(rows))
        .state(&log.state);
    canvas.frame.render_widget(widget, inner);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_line_keeps_its_own_time_and_level() {
        let line = "2026-11-20T12:03:42.123456Z  INFO wheelhouse::driver::shell: s4 drains: ok";
        assert_eq!(parts(line), Some(("12:03:42", "INFO", "s4 drains: ok")));
        assert_eq!(parts("thread panicked"), None);
    }
}

//! The dialog as lines, and whether they fit.

use super::guard::Button;
use super::{Confirm, End, Said, Stage};
use crate::console::dialog::boxed;
use crate::console::screen::Canvas;
use crate::console::theme::{Role, Theme};
use crate::console::widget::text;
use crate::view::Tier;
use ratatui::layout::Size;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Widest dialog.
const WIDTH_MAX: u16 = 76;

/// Narrowest dialog that can be read.
const WIDTH_MIN: u16 = 44;

/// Cells of the labels before the texts.
const LABEL: usize = 11;

fn width(size: Size) -> u16 {
    size.width.saturating_sub(4).min(WIDTH_MAX)
}

/// Whether the dialog can be drawn wholly.
pub fn fits(confirm: &Confirm, theme: &Theme, you: &str, size: Size, now_ms: u64) -> bool {
    let lines = lines(confirm, theme, you, width(size), now_ms).len();
    width(size) >= WIDTH_MIN && lines + 2 <= usize::from(size.height)
}

/// Draws the dialog; its one-line form where it does not fit.
pub fn draw(confirm: &Confirm, canvas: &mut Canvas<'_, '_>, you: &str, now_ms: u64) {
    let size = canvas.frame.area().as_size();
    if !fits(confirm, canvas.theme, you, size, now_ms) {
        draw_small(confirm, canvas, now_ms);
        return;
    }
    let style = match &confirm.stage {
        Stage::Over {
            end: End::Failed, ..
        } => canvas.theme.style(Role::Fail),
        Stage::Over {
            end: End::Unknown, ..
        } => canvas.theme.style(Role::Warn),
        _ => canvas.theme.style(Role::BorderFocus),
    };
    let title = confirm.title();
    let lines = lines(confirm, canvas.theme, you, width(size), now_ms);
    boxed(canvas, &title, style, lines, width(size));
}

fn lines(
    confirm: &Confirm,
    theme: &Theme,
    you: &str,
    width: u16,
    now_ms: u64,
) -> Vec<Line<'static>> {
    let cells = usize::from(width.saturating_sub(4)).max(1);
    let mut lines = Vec::new();
    if let Some(banner) = &confirm.banner {
        let style = theme.style(Role::Warn).add_modifier(Modifier::REVERSED);
        lines.extend(wrapped(banner, cells, style));
        lines.push(Line::default());
    }
    match confirm.said() {
        Some(said) => lines.extend(body(&said, theme, you, cells)),
        None => lines.push(Line::styled(
            "asking the engine what this would do",
            theme.style(Role::Muted),
        )),
    }
    lines.push(Line::default());
    match &confirm.stage {
        Stage::Prompting => lines.extend(prompt(confirm, theme, cells, now_ms)),
        Stage::Waiting { .. } => {
            let text = format!("{} sent; waiting for the engine's answer", confirm.word());
            lines.push(Line::styled(text, theme.style(Role::Running)));
        }
        Stage::Over { end, text } => lines.extend(over(*end, text.as_str(), theme, cells)),
    }
    lines
}

fn wrapped(text: &str, cells: usize, style: Style) -> Vec<Line<'static>> {
    text::wrap(text, cells)
        .into_iter()
        .map(|line| Line::styled(line, style))
        .collect()
}

fn labelled(label: &str, body: &str, cells: usize, style: Style) -> Vec<Line<'static>> {
    let room = cells.saturating_sub(LABEL).max(1);
    text::wrap(body, room)
        .into_iter()
        .enumerate()
        .map(|(n, part)| {
            let label = if n == 0 { label } else { "" };
            Line::from(vec![
                Span::styled(format!("{label:<LABEL$}"), style),
                Span::styled(part, style),
            ])
        })
        .collect()
}

fn body(said: &Said<'_>, theme: &Theme, you: &str, cells: usize) -> Vec<Line<'static>> {
    let fg = theme.style(Role::Fg);
    if let Some(refusal) = &said.refused {
        return wrapped(
            &format!("Not possible: {refusal}"),
            cells,
            theme.style(Role::Warn),
        );
    }
    let mut lines: Vec<_> = said
        .lines
        .iter()
        .flat_map(|line| labelled(line.label.as_str(), line.text.as_str(), cells, fg))
        .collect();
    for warning in said.warnings {
        let style = theme.style(Role::Warn);
        lines.extend(labelled("WARNING", warning.as_str(), cells, style));
    }
    lines.extend(labelled(
        "Recorded",
        &format!("as {you}"),
        cells,
        theme.style(Role::Muted),
    ));
    lines
}

fn prompt(confirm: &Confirm, theme: &Theme, cells: usize, now_ms: u64) -> Vec<Line<'static>> {
    let locked = confirm.guard.is_locked(now_ms);
    let muted = theme.style(Role::Muted);
    let mut lines = Vec::new();
    let hint = match confirm.tier() {
        None => {
            lines.push(buttons(theme, Button::Cancel, None));
            "Esc or Enter: close"
        }
        Some(Tier::One) => {
            let verb = format!("y  {}", confirm.button());
            lines.push(buttons(theme, Button::Cancel, Some((verb, locked))));
            if locked {
                "Esc cancel   y in a moment"
            } else {
                "y does it   Esc or Enter: cancel"
            }
        }
        Some(Tier::Two) => {
            lines.push(word_field(confirm, theme));
            lines.push(Line::default());
            let shut = locked || !confirm.guard.is_complete();
            let verb = (confirm.button(), shut);
            lines.push(buttons(theme, confirm.guard.button(), Some(verb)));
            "type the word, Tab to the button, Enter   Esc: cancel"
        }
    };
    lines.push(Line::default());
    match confirm.guard.notice() {
        Some(notice) => lines.extend(wrapped(notice, cells, theme.style(Role::Warn))),
        None => lines.extend(wrapped(hint, cells, muted)),
    }
    lines
}

fn word_field(confirm: &Confirm, theme: &Theme) -> Line<'static> {
    let guard = &confirm.guard;
    let word = guard.word().to_owned();
    let typed = guard.typed();
    let blanks = "_".repeat(word.len().saturating_sub(typed.chars().count()));
    Line::from(vec![
        Span::raw("Type  "),
        Span::styled(word, theme.style(Role::Title)),
        Span::raw("  to enable it:  [ "),
        Span::styled(typed, theme.style(Role::Title)),
        Span::styled(blanks, theme.style(Role::Muted)),
        Span::raw(" ]"),
    ])
}

/// Cancel, and the verb with whether it is locked. The one Enter presses is told by its marks.
fn buttons(theme: &Theme, focus: Button, verb: Option<(String, bool)>) -> Line<'static> {
    let selection = theme.selection();
    let cancel = match focus {
        Button::Cancel => Span::styled("[> Cancel <]", selection),
        Button::Verb => Span::raw("[  Cancel  ]"),
    };
    let mut spans = vec![cancel];
    if let Some((text, locked)) = verb {
        spans.push(Span::raw("     "));
        spans.push(match (locked, focus) {
            (true, _) => Span::styled(format!("[  {text} (locked)  ]"), theme.style(Role::Muted)),
            (false, Button::Verb) => {
                Span::styled(format!("[> {text} <]"), theme.style(Role::DangerButton))
            }
            (false, Button::Cancel) => {
                Span::styled(format!("[  {text}  ]"), theme.style(Role::Title))
            }
        });
    }
    Line::from(spans)
}

fn over(end: End, said: &str, theme: &Theme, cells: usize) -> Vec<Line<'static>> {
    let (symbol, role) = match end {
        End::Done => (theme.symbols.passed, Role::Ok),
        End::Failed => (theme.symbols.failed, Role::Fail),
        End::Unknown => ("?", Role::Warn),
    };
    let mut lines = wrapped(&format!("{symbol} {said}"), cells, theme.style(role));
    lines.push(Line::default());
    lines.push(Line::styled(
        "Esc or Enter: close",
        theme.style(Role::Muted),
    ));
    lines
}

/// The dialog in one line, for terminals too small for more: `abort #1841? y`.
pub fn one_line(confirm: &Confirm, now_ms: u64) -> String {
    let number = confirm.subject();
    let verb = confirm.word();
    match &confirm.stage {
        Stage::Prompting => match (confirm.is_urgent(), confirm.tier()) {
            (true, Some(_)) => match confirm.guard.is_locked(now_ms) {
                true => format!("{verb} {number}? wait"),
                false => format!("{verb} {number}? y"),
            },
            (true, None) => format!("{verb}: not possible"),
            (false, _) => format!("enlarge to {verb}"),
        },
        Stage::Waiting { .. } => format!("{verb} {number} sent"),
        Stage::Over { end, text } => match end {
            End::Done => format!("{verb} {number} ok"),
            End::Failed => format!("failed: {text}"),
            End::Unknown => format!("{verb}: UNKNOWN"),
        },
    }
}

fn draw_small(confirm: &Confirm, canvas: &mut Canvas<'_, '_>, now_ms: u64) {
    let area = canvas.frame.area();
    if area.is_empty() {
        return;
    }
    let line = one_line(confirm, now_ms);
    let row = ratatui::layout::Rect { height: 1, ..area };
    let style = canvas
        .theme
        .style(Role::Warn)
        .add_modifier(Modifier::REVERSED);
    let shown = text::left(&line, usize::from(area.width), &canvas.theme.symbols);
    canvas.frame.render_widget(Line::styled(shown, style), row);
}

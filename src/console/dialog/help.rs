//! `?`: the key table as it is in force.

use super::boxed;
use crate::console::keymap::Keymap;
use crate::console::screen::Canvas;
use crate::console::theme::Role;
use crate::console::widget::text;
use ratatui::text::{Line, Span};

/// How far the help is scrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Help {
    /// Rows above the first one shown.
    pub top: usize,
}

const WIDTH: u16 = 80;

impl Help {
    /// Scrolls by rows, within the table.
    pub fn scroll(&mut self, by: isize, keymap: &Keymap) {
        let last = keymap.rows().len().saturating_sub(1);
        self.top = self.top.saturating_add_signed(by).min(last);
    }
}

/// Draws it.
pub fn draw(help: &Help, keymap: &Keymap, canvas: &mut Canvas<'_, '_>) {
    let theme = canvas.theme;
    let area = canvas.frame.area();
    let rows = keymap.rows();
    let room = usize::from(area.height.saturating_sub(4)).max(1);
    let top = help.top.min(rows.len().saturating_sub(room));
    let cells = usize::from(WIDTH.min(area.width).saturating_sub(4));
    let mut lines: Vec<_> = rows
        .iter()
        .skip(top)
        .take(room)
        .map(|(keys, what)| {
            let keys = text::left(keys, 12, &theme.symbols);
            let what = text::fit(what, cells.saturating_sub(13), &theme.symbols);
            Line::from(vec![
                Span::styled(keys, theme.style(Role::KeyHint)),
                Span::raw(" "),
                Span::styled(what, theme.style(Role::Fg)),
            ])
        })
        .collect();
    let more = match rows.len() > top + room {
        true => "j k scroll   Esc close   (more below)",
        false => "j k scroll   Esc close",
    };
    lines.push(Line::default());
    lines.push(Line::styled(more, theme.style(Role::Muted)));
    lines.truncate(usize::from(area.height.saturating_sub(2)));
    let style = theme.style(Role::BorderFocus);
    boxed(canvas, "Keys", style, lines, WIDTH);
}

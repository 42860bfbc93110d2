//! What lies over the screen and takes the keys: confirming, help, the palette, leaving.

pub mod confirm;
pub mod help;
pub mod leave;
pub mod palette;

use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph};

use super::screen::Canvas;
use super::theme::{Role, Theme};

/// A frame in the middle of the screen with these lines in it.
pub(super) fn boxed(
    canvas: &mut Canvas<'_, '_>,
    title: &str,
    style: Style,
    lines: Vec<Line<'_>>,
    width: u16,
) -> Rect {
    let area = canvas.frame.area();
    let height = (lines.len() as u16).saturating_add(2);
    let rect = area.centered(
        ratatui::layout::Constraint::Length(width.min(area.width)),
        ratatui::layout::Constraint::Length(height.min(area.height)),
    );
    let theme: &Theme = canvas.theme;
    canvas.frame.render_widget(Clear, rect);
    let block = Block::bordered()
        .border_set(theme.symbols.border_focus)
        .border_style(style)
        .style(theme.base())
        .title(Line::styled(format!(" {title} "), theme.style(Role::Title)));
    canvas.frame.render_widget(block, rect);
    let inner = rect.inner(Margin::new(2, 1));
    canvas.frame.render_widget(Paragraph::new(lines), inner);
    rect
}

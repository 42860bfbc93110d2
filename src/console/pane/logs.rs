//! Pane 3: what the instances print, of all of them or of one role's; followed, searched,
//! filtered. A view that is not at the end stays where it is, whatever arrives or goes.

use super::{Pane, Slot, instances};
use crate::console::dialog::palette::{Typed, edit};
use crate::console::input::Key;
use crate::console::keymap::Action;
use crate::console::screen::Canvas;
use crate::console::theme::{Role, Theme};
use crate::console::widget::ring::{LogLine, Ring};
use crate::console::widget::text;
use crate::view::snapshot::Role as Part;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Cells of a line that are looked at; longer ones say how much is missing.
const CELLS_MAX: usize = 4_096;

/// Columns moved at once by scrolling sideways.
const SIDEWAYS: usize = 16;

/// Whose lines are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Everybody's.
    #[default]
    All,
    /// The canary's.
    Canary,
    /// Stable's.
    Stable,
}

/// What is being typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A text to search.
    Search,
    /// A text to filter by.
    Filter,
}

/// The pane's state.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    ring: Ring,
    /// The number of the lowest line shown; `None` follows the newest.
    bottom: Option<u64>,
    wrap: bool,
    source: Source,
    search: String,
    filter: String,
    entry: Option<(Entry, String)>,
    sideways: usize,
    skipped: u64,
}

impl Logs {
    /// Adds lines of one server, after `skipped` that were lost before they could be read.
    pub fn add(
        &mut self,
        server: &str,
        role: Option<Part>,
        skipped: u64,
        lines: Vec<crate::model::Clean>,
    ) {
        if skipped > 0 {
            self.skipped += skipped;
            let text = format!("({skipped} lines of {server} were gone before they were read)");
            self.push(server, role, crate::model::Clean::new(&text));
        }
        for line in lines {
            self.push(server, role, line);
        }
    }

    fn push(&mut self, server: &str, role: Option<Part>, text: crate::model::Clean) {
        self.ring.push(LogLine {
            server: server.to_owned(),
            role,
            text,
        });
    }

    /// Another placement: what was read is of no use.
    pub fn clear(&mut self) {
        self.ring.clear();
        self.bottom = None;
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.ring.first() == self.ring.end()
    }

    /// Whether a line is being typed, so that keys are text.
    pub fn is_typing(&self) -> bool {
        self.entry.is_some()
    }

    /// Takes a key while a line is being typed.
    pub fn typed(&mut self, key: Key) {
        let Some((entry, line)) = &mut self.entry else {
            return;
        };
        let entry = *entry;
        match edit(line, key) {
            Typed::Stay => {
                // Searching shows at once what it finds.
                let line = line.clone();
                if entry == Entry::Search {
                    self.search = line;
                }
            }
            Typed::Cancel => {
                self.entry = None;
                match entry {
                    Entry::Search => self.search.clear(),
                    Entry::Filter => self.filter.clear(),
                }
            }
            Typed::Enter => {
                let line = std::mem::take(line);
                self.entry = None;
                match entry {
                    Entry::Search => {
                        self.search = line;
                        self.find(-1);
                    }
                    Entry::Filter => self.filter = line,
                }
            }
        }
    }

    /// Takes an action; false if it means nothing here.
    pub fn act(&mut self, action: Action, page: u16) -> bool {
        let page = i64::from(page.max(1));
        match action {
            Action::Up => self.scroll(-1),
            Action::Down => self.scroll(1),
            Action::PageUp => self.scroll(-page),
            Action::PageDown => self.scroll(page),
            Action::Top => self.scroll(i64::MIN / 2),
            Action::Bottom => self.bottom = None,
            Action::Left => self.sideways = self.sideways.saturating_sub(SIDEWAYS),
            Action::Right if !self.wrap => {
                self.sideways = (self.sideways + SIDEWAYS).min(CELLS_MAX)
            }
            Action::Follow => {
                self.bottom = match self.bottom {
                    None => Some(self.ring.end().saturating_sub(1)),
                    Some(_) => None,
                }
            }
            Action::Wrap => {
                self.wrap = !self.wrap;
                self.sideways = 0;
            }
            Action::Source => {
                self.source = match self.source {
                    Source::All => Source::Canary,
                    Source::Canary => Source::Stable,
                    Source::Stable => Source::All,
                }
            }
            Action::Search => self.entry = Some((Entry::Search, String::new())),
            Action::Filter => self.entry = Some((Entry::Filter, String::new())),
            Action::NextMatch if !self.search.is_empty() => self.find(1),
            Action::PreviousMatch if !self.search.is_empty() => self.find(-1),
            Action::Back if !self.filter.is_empty() || !self.search.is_empty() => {
                self.filter.clear();
                self.search.clear();
            }
            _ => return false,
        }
        true
    }

    fn shows(&self, line: &LogLine) -> bool {
        let source = match self.source {
            Source::All => true,
            Source::Canary => line.role == Some(Part::Canary),
            Source::Stable => line.role == Some(Part::Stable),
        };
        let text = line.text.as_str();
        source
            && match self.filter.strip_prefix('!') {
                Some("") => true,
                Some(not) => !text.contains(not),
                None => text.contains(&self.filter),
            }
    }

    /// Numbers of the lines shown from `from` on, towards older or newer ones.
    fn older(&self, from: u64) -> impl Iterator<Item = u64> + '_ {
        (self.ring.first()..=from)
            .rev()
            .filter(|n| self.is_shown(*n))
    }

    fn newer(&self, from: u64) -> impl Iterator<Item = u64> + '_ {
        (from..self.ring.end()).filter(|n| self.is_shown(*n))
    }

    fn is_shown(&self, number: u64) -> bool {
        self.ring.get(number).is_some_and(|line| self.shows(line))
    }

    fn last(&self) -> u64 {
        self.ring.end().saturating_sub(1)
    }

    fn scroll(&mut self, by: i64) {
        let from = self.bottom.unwrap_or_else(|| self.last());
        let steps = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX);
        let to = match by < 0 {
            true => self.older(from.saturating_sub(1)).take(steps).last(),
            false => self.newer(from + 1).take(steps).last(),
        };
        match to {
            Some(to) if by < 0 => self.bottom = Some(to),
            Some(to) => self.bottom = Some(to).filter(|to| *to < self.last()),
            None if by > 0 => self.bottom = None,
            None => {}
        }
    }

    fn find(&mut self, by: i64) {
        let from = self.bottom.unwrap_or_else(|| self.last());
        let hit = |n: &u64| {
            self.ring
                .get(*n)
                .is_some_and(|line| line.text.as_str().contains(&self.search))
        };
        let found = match by < 0 {
            true => self
                .older(from.saturating_sub(u64::from(self.bottom.is_some())))
                .find(hit),
            false => self.newer(from + 1).find(hit),
        };
        if found.is_some() {
            self.bottom = found;
        }
    }

    fn state(&self) -> String {
        let source = match self.source {
            Source::All => "all",
            Source::Canary => "canary",
            Source::Stable => "stable",
        };
        format!("{source}  {}", self.follows())
    }

    /// Whether lines are wrapped, and whether the newest one is followed.
    pub(super) fn follows(&self) -> String {
        let wrap = if self.wrap { "wrap" } else { "cut" };
        let follow = match self.bottom {
            None => "FOLLOW".to_owned(),
            Some(bottom) => match self.last().saturating_sub(bottom) {
                0 => "PAUSED".to_owned(),
                newer => format!("PAUSED +{newer}"),
            },
        };
        format!("{wrap}  {follow}")
    }

    /// What is searched and filtered by, or being typed.
    pub(super) fn about(&self) -> String {
        match (&self.entry, self.filter.as_str(), self.search.as_str()) {
            (Some((Entry::Search, line)), ..) => format!("/{line}_"),
            (Some((Entry::Filter, line)), ..) => format!("&{line}_"),
            (None, "", "") => String::new(),
            (None, "", search) => format!("/{search}  n N"),
            (None, filter, "") => format!("&{filter}"),
            (None, filter, search) => format!("&{filter}  /{search}  n N"),
        }
    }
}

/// Draws it.
pub fn draw(logs: &Logs, canvas: &mut Canvas<'_, '_>, slot: Slot) {
    let inner = super::frame(canvas, slot, Pane::Logs, &logs.about(), &logs.state());
    body(logs, canvas, super::indent(inner), "no line read yet");
}

/// Draws the lines alone, or what is said where none was read.
pub(super) fn body(logs: &Logs, canvas: &mut Canvas<'_, '_>, inner: Rect, empty: &str) {
    let theme = canvas.theme;
    let lines = visible(logs, theme, inner);
    if lines.is_empty() && inner.height > 0 {
        let said = match logs.is_empty() {
            true => empty.to_owned(),
            false => "no line matches".to_owned(),
        };
        let line = Line::styled(said, theme.style(Role::Muted));
        super::lines(canvas, inner, vec![line], 0);
        return;
    }
    super::lines(canvas, inner, lines, 0);
}

/// The rows that fit, from the bottom up; only these are measured and wrapped.
fn visible(logs: &Logs, theme: &Theme, inner: Rect) -> Vec<Line<'static>> {
    let rows = usize::from(inner.height);
    let cells = usize::from(inner.width);
    let from = logs.bottom.unwrap_or_else(|| logs.last());
    // A view at the very top fills downwards.
    let mut numbers: Vec<_> = logs.older(from).take(rows).collect();
    numbers.reverse();
    if numbers.len() < rows {
        let after = numbers.last().map_or(logs.ring.first(), |n| n + 1);
        let more = rows - numbers.len();
        numbers.extend(logs.newer(after).take(more));
    }
    let mut lines: Vec<_> = numbers
        .iter()
        .filter_map(|number| logs.ring.get(*number))
        .flat_map(|line| rows_of(logs, theme, line, cells))
        .collect();
    let above = lines.len().saturating_sub(rows);
    lines.drain(..above);
    lines
}

fn rows_of(logs: &Logs, theme: &Theme, line: &LogLine, cells: usize) -> Vec<Line<'static>> {
    let (_, server_style) = match line.role {
        Some(role) => instances::part(theme, role),
        None => ("", theme.style(Role::Muted)),
    };
    let server = match line.server.as_str() {
        "" => String::new(),
        server => text::left(server, 6, &theme.symbols) + " ",
    };
    let room = cells.saturating_sub(text::width(&server)).max(1);
    let whole = line.text.as_str();
    let shown = text::take(whole, CELLS_MAX);
    let style = level(theme, shown);
    let parts = match logs.wrap {
        true => text::wrap(shown, room),
        false => {
            let rest = text::skip(shown, logs.sideways);
            vec![text::fit(rest, room, &theme.symbols)]
        }
    };
    parts
        .iter()
        .enumerate()
        .map(|(n, part)| {
            let front = if n == 0 {
                server.clone()
            } else {
                " ".repeat(text::width(&server))
            };
            let mut spans = vec![Span::styled(front, server_style)];
            spans.extend(marked(theme, part, &logs.search, style));
            Line::from(spans)
        })
        .collect()
}

/// The style of a line by the level it names near its beginning.
fn level(theme: &Theme, line: &str) -> Style {
    let head = text::take(line, 60);
    let has = |words: [&str; 2]| words.iter().any(|word| head.contains(word));
    let role = match () {
        () if has(["ERROR", "level=error"]) => Role::LogError,
        () if has(["WARN", "level=warn"]) => Role::LogWarn,
        () if has(["DEBUG", "TRACE"]) => Role::LogDebug,
        () => Role::LogInfo,
    };
    theme.style(role)
}

fn marked(theme: &Theme, part: &str, search: &str, style: Style) -> Vec<Span<'static>> {
    if search.is_empty() {
        return vec![Span::styled(part.to_owned(), style)];
    }
    let mut spans = Vec::new();
    let mut rest = part;
    while let Some(at) = rest.find(search) {
        spans.push(Span::styled(rest[..at].to_owned(), style));
        spans.push(Span::styled(
            search.to_owned(),
            theme.style(Role::SearchMatch),
        ));
        rest = &rest[at + search.len()..];
    }
    spans.push(Span::styled(rest.to_owned(), style));
    spans
}

#[cfg(test)]
mod tests;

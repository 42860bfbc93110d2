//! The characters states, bars and frames are drawn with, in two tiers.

use ratatui::symbols::{Marker, border};

/// What is drawn with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Symbols {
    /// Done and good.
    pub passed: &'static str,
    /// Under way.
    pub running: &'static str,
    /// Wrong.
    pub failed: &'static str,
    /// Done, with something wrong that ended nothing.
    pub warned: &'static str,
    /// Stopped until somebody comes.
    pub held: &'static str,
    /// Not begun.
    pub todo: &'static str,
    /// Left out.
    pub skipped: &'static str,
    /// Nobody knows.
    pub unknown: &'static str,
    /// Ended before its end.
    pub canceled: &'static str,
    /// Between two things that are done at the same time.
    pub beside: &'static str,
    /// A bar's filled and empty cells.
    pub bar: [&'static str; 2],
    /// Cells of a sparkline, from empty to full.
    pub levels: &'static [&'static str],
    /// Between two versions: "v2 from v1".
    pub from: &'static str,
    /// Between two things on one line.
    pub dot: &'static str,
    /// At the end of a cut text.
    pub cut: &'static str,
    /// Before the selected row.
    pub pointer: &'static str,
    /// A frame.
    pub border: border::Set<'static>,
    /// The frame of the pane with the focus, told by more than colour.
    pub border_focus: border::Set<'static>,
    /// What charts are drawn with: canary, stable, limit.
    pub markers: [Marker; 3],
    /// Whether only ASCII may be drawn.
    pub ascii: bool,
}

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

impl Symbols {
    /// For terminals that show UTF-8.
    pub const UTF8: Self = Self {
        passed: "✔",
        running: "▶",
        failed: "✖",
        warned: "!",
        held: "‖",
        todo: "○",
        skipped: "·",
        unknown: "?",
        canceled: "–",
        beside: "∥",
        bar: ["█", "░"],
        levels: &["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
        from: "←",
        dot: "·",
        cut: "…",
        pointer: "▸",
        border: border::PLAIN,
        border_focus: border::THICK,
        markers: [Marker::Braille, Marker::Braille, Marker::Braille],
        ascii: false,
    };

    /// For all others.
    pub const ASCII: Self = Self {
        passed: "[ok]",
        running: "[>>]",
        failed: "[!!]",
        warned: "[! ]",
        held: "[--]",
        todo: "[  ]",
        skipped: "[..]",
        unknown: "[? ]",
        canceled: "[x ]",
        beside: "|",
        bar: ["#", "-"],
        levels: &["_", ".", ":", "-", "=", "+", "*", "#"],
        from: "<-",
        dot: "-",
        cut: "~",
        pointer: ">",
        border: ASCII_BORDER,
        border_focus: border::Set {
            horizontal_top: "=",
            horizontal_bottom: "=",
            ..ASCII_BORDER
        },
        markers: [
            Marker::Custom('x'),
            Marker::Custom('.'),
            Marker::Custom('-'),
        ],
        ascii: true,
    };
}

//! What things look like: roles → styles, and the symbols drawn with.
//!
//! A theme is a flat table of roles in TOML; panes name roles, never colours. Colours are reduced
//! to what the terminal shows; without colours the attributes carry the meaning alone.

mod depth;
mod file;
mod symbols;

pub use depth::Depth;
pub use file::{ThemeError, builtin_names};
pub use symbols::Symbols;

use ratatui::style::{Color, Modifier, Style};
use std::collections::BTreeMap;
use std::path::Path;

/// What a cell means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it.
pub enum Role {
    Bg,
    Fg,
    Muted,
    Border,
    BorderFocus,
    Title,
    Accent,
    SelectionFg,
    SelectionBg,
    Ok,
    Warn,
    Fail,
    Running,
    Waiting,
    Canary,
    Stable,
    Limit,
    LogError,
    LogWarn,
    LogInfo,
    LogDebug,
    SearchMatch,
    KeyHint,
    DangerButton,
}

/// Every role with its key in theme files, in the order of the enum.
pub(super) const ROLES: [(&str, Role); 24] = [
    ("bg", Role::Bg),
    ("fg", Role::Fg),
    ("muted", Role::Muted),
    ("border", Role::Border),
    ("border_focus", Role::BorderFocus),
    ("title", Role::Title),
    ("accent", Role::Accent),
    ("selection_fg", Role::SelectionFg),
    ("selection_bg", Role::SelectionBg),
    ("ok", Role::Ok),
    ("warn", Role::Warn),
    ("fail", Role::Fail),
    ("running", Role::Running),
    ("waiting", Role::Waiting),
    ("canary", Role::Canary),
    ("stable", Role::Stable),
    ("limit", Role::Limit),
    ("log_error", Role::LogError),
    ("log_warn", Role::LogWarn),
    ("log_info", Role::LogInfo),
    ("log_debug", Role::LogDebug),
    ("search_match", Role::SearchMatch),
    ("key_hint", Role::KeyHint),
    ("danger_button", Role::DangerButton),
];

/// Colours of roles and environments, reduced to a depth.
#[derive(Debug, Clone, PartialEq)]
pub struct Theme {
    /// Its name.
    pub name: String,
    /// What it draws with.
    pub symbols: Symbols,
    depth: Depth,
    colours: [Color; ROLES.len()],
    environments: BTreeMap<String, Color>,
}

impl Theme {
    /// Loads a theme: a shipped one, else `NAME.toml` in `dir`. The second value is what was
    /// odd about the file but prevents nothing.
    ///
    /// # Errors
    /// When no such theme exists or its file cannot be understood.
    pub fn load(
        name: &str,
        dir: Option<&Path>,
        depth: Depth,
        symbols: Symbols,
    ) -> Result<(Self, Vec<String>), ThemeError> {
        let written = file::read(name, dir)?;
        let theme = Self {
            name: name.to_owned(),
            symbols,
            depth,
            colours: written.colours.map(|colour| depth.reduce(colour)),
            environments: written
                .environments
                .into_iter()
                .map(|(name, colour)| (name, depth.reduce(colour)))
                .collect(),
        };
        Ok((theme, written.warnings))
    }

    /// The theme for a terminal nobody chose one for.
    pub fn default_name(depth: Depth) -> &'static str {
        match depth {
            Depth::True | Depth::Colours256 => "default-dark",
            Depth::Colours16 | Depth::None => "ansi16",
        }
    }

    /// How many colours it is reduced to.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    fn colour(&self, role: Role) -> Color {
        self.colours[role as usize]
    }

    /// The style of a role: its colour, and attributes where colour alone would say it.
    pub fn style(&self, role: Role) -> Style {
        let style = Style::new().fg(self.colour(role));
        let bare = self.depth == Depth::None;
        match role {
            Role::Title => style.add_modifier(Modifier::BOLD),
            Role::Fail | Role::LogError | Role::Limit if bare => {
                style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
            }
            Role::Warn | Role::LogWarn | Role::Canary | Role::Running if bare => {
                style.add_modifier(Modifier::BOLD)
            }
            Role::BorderFocus | Role::KeyHint | Role::Accent if bare => {
                style.add_modifier(Modifier::BOLD)
            }
            Role::Muted | Role::Border | Role::LogDebug if bare => {
                style.add_modifier(Modifier::DIM)
            }
            Role::SearchMatch | Role::DangerButton => style.add_modifier(Modifier::REVERSED),
            _ => style,
        }
    }

    /// The whole screen's text and background.
    pub fn base(&self) -> Style {
        Style::new()
            .fg(self.colour(Role::Fg))
            .bg(self.colour(Role::Bg))
    }

    /// The selected row: reversed where the theme has no background of its own for it.
    pub fn selection(&self) -> Style {
        match self.colour(Role::SelectionBg) {
            Color::Reset => Style::new().add_modifier(Modifier::REVERSED),
            background => Style::new()
                .fg(self.colour(Role::SelectionFg))
                .bg(background)
                .add_modifier(Modifier::BOLD),
        }
    }

    /// An environment's badge, always reversed, so that production is told by more than colour.
    pub fn environment(&self, name: &str, protected: bool) -> Style {
        let fallback = match protected {
            true => self.colour(Role::Fail),
            false => self.colour(Role::Accent),
        };
        let colour = self.environments.get(name).copied().unwrap_or(fallback);
        Style::new()
            .fg(colour)
            .add_modifier(Modifier::REVERSED | Modifier::BOLD)
    }
}

#[cfg(test)]
mod tests;

//! What the environment tells about the terminal. Read once, at the start.

use super::theme::Depth;

/// The terminal, as far as the environment knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// `TERM`; empty when unset.
    pub term: String,
    /// Colours it shows.
    pub depth: Depth,
    /// Whether UTF-8 arrives.
    pub utf8: bool,
    /// Whether it is at the end of an SSH connection.
    pub ssh: bool,
    /// Whether tmux stands between.
    pub tmux: bool,
}

impl Surroundings {
    /// From the process's environment.
    pub fn from_env() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    /// From any environment.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let filled = |name| variable(name).filter(|value| !value.is_empty());
        let term = filled("TERM").unwrap_or_default();
        let colour_term = filled("COLORTERM").unwrap_or_default();
        let depth = match () {
            () if filled("NO_COLOR").is_some() => Depth::None,
            () if colour_term.contains("truecolor") || colour_term.contains("24bit") => Depth::True,
            () if term.contains("256color") || term.contains("direct") => Depth::Colours256,
            () if term.starts_with("vt1") || term.starts_with("vt2") => Depth::None,
            () => Depth::Colours16,
        };
        // The first one that is set decides, as for the C library.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(filled);
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        let plain = term == "linux" || term.starts_with("vt");
        Self {
            depth,
            utf8: !plain && (locale.contains("utf-8") || locale.contains("utf8")),
            ssh: filled("SSH_CONNECTION").is_some() || filled("SSH_TTY").is_some(),
            tmux: filled("TMUX").is_some(),
            term,
        }
    }

    /// Whether there is no terminal that could show a screen.
    pub fn is_dumb(&self) -> bool {
        self.term.is_empty() || self.term == "dumb"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Surroundings {
        Surroundings::of(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn colours_and_letters_follow_the_environment() {
        let full = of(&[
            ("TERM", "xterm-256color"),
            ("COLORTERM", "truecolor"),
            ("LANG", "en_GB.UTF-8"),
        ]);
        assert_eq!((full.depth, full.utf8), (Depth::True, true));
        let bare = of(&[("TERM", "xterm-256color"), ("NO_COLOR", "1")]);
        assert_eq!((bare.depth, bare.utf8), (Depth::None, false));
        let empty = of(&[("TERM", "xterm-256color"), ("NO_COLOR", "")]);
        assert_eq!(empty.depth, Depth::Colours256, "empty is not set");
        let console = of(&[("TERM", "linux"), ("LANG", "C.UTF-8")]);
        assert_eq!((console.depth, console.utf8), (Depth::Colours16, false));
        let posix = of(&[("TERM", "xterm"), ("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]);
        assert!(!posix.utf8, "LC_ALL wins");
        assert!(of(&[]).is_dumb() && of(&[("TERM", "dumb")]).is_dumb());
    }
}

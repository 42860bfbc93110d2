//! What a console is given, and why there may be none.

use crate::config::{ConsoleSettings, KeyBinding, Toggle};
use crate::console::app::{CtrlC, Guide};
use crate::console::keymap::KeymapError;
use crate::console::surroundings::Surroundings;
use crate::console::theme::{Symbols, Theme, ThemeError};
use crate::link::ClientOptions;
use std::io;
use std::path::PathBuf;

/// Everything a console needs.
pub struct ConsoleOptions {
    /// Where the engine listens.
    pub socket: PathBuf,
    /// How the console introduces itself.
    pub client: ClientOptions,
    /// `[console]` of the configuration.
    pub settings: ConsoleSettings,
    /// `[keys]` of the configuration.
    pub keys: Vec<KeyBinding>,
    /// What the environment tells of the terminal.
    pub surroundings: Surroundings,
    /// Where themes of one's own are; as a rule `themes` beside the configuration.
    pub theme_dir: Option<PathBuf>,
    /// The engine's log file, shown in pane 8 where it is known.
    pub engine_log: Option<PathBuf>,
    /// A line below the banner, from what the snapshot shows.
    pub guide: Option<Guide>,
    /// What Ctrl-C does.
    pub ctrl_c: CtrlC,
}

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Nobody looks.
    #[error(
        "standard input and output are no terminal that shows a screen; use `wheelhouse watch`"
    )]
    NoTerminal,
    /// `[keys]`.
    #[error(transparent)]
    Keys(#[from] KeymapError),
    /// The theme.
    #[error(transparent)]
    Theme(#[from] ThemeError),
    /// The terminal.
    #[error("the terminal cannot be used")]
    Terminal(#[from] io::Error),
}

/// The theme that was chosen, or that fits the terminal; and what is odd about its file.
pub(super) fn theme(options: &ConsoleOptions) -> Result<(Theme, Vec<String>), ThemeError> {
    let around = &options.surroundings;
    let ascii = match options.settings.ascii {
        Toggle::Auto => !around.utf8,
        Toggle::On => true,
        Toggle::Off => false,
    };
    let symbols = if ascii { Symbols::ASCII } else { Symbols::UTF8 };
    let chosen = options.settings.theme.as_deref();
    let name = chosen.unwrap_or(Theme::default_name(around.depth));
    Theme::load(name, options.theme_dir.as_deref(), around.depth, symbols)
}

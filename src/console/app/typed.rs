//! Commands typed into the palette, each leading where its key would.

use super::{App, Cmd, Overlay};
use crate::console::dialog::confirm::Verb;
use crate::console::dialog::palette::{self, Command, Palette, Typed};
use crate::console::input::Key;
use crate::console::pane::instances;
use crate::console::theme::Theme;
use crate::model::ServerName;

impl App {
    /// Takes a key while a command is being typed.
    pub(super) fn palette_key(&mut self, mut palette: Palette, key: Key, now_ms: u64) -> Vec<Cmd> {
        palette.trouble = None;
        if key == Key::Tab {
            palette.complete();
            self.overlay = Some(Overlay::Palette(palette));
            return Vec::new();
        }
        match palette::edit(&mut palette.text, key) {
            Typed::Cancel => return Vec::new(),
            Typed::Stay => {}
            Typed::Enter => {
                let command = palette::parse(&palette.text);
                match command.and_then(|command| self.entered(command, now_ms)) {
                    Ok(cmds) => return cmds,
                    Err(why) => palette.trouble = Some(why),
                }
            }
        }
        self.overlay = Some(Overlay::Palette(palette));
        Vec::new()
    }

    /// Does what was entered.
    ///
    /// # Errors
    /// Why it means nothing here, and what could be typed instead.
    fn entered(&mut self, command: Command, now_ms: u64) -> Result<Vec<Cmd>, String> {
        let verb = match command {
            Command::Ask(verb) => verb,
            Command::Drain(server) => Verb::Drain(self.named_or_selected(server)?),
            Command::Undrain(server) => Verb::Undrain(self.named_or_selected(server)?),
            Command::Note(text) => return Ok(self.note(text, now_ms)),
            Command::Pipelines => {
                self.open_runs(None);
                return Ok(Vec::new());
            }
            Command::Run(command) => {
                let act = self.run_act(command)?;
                return Ok(self.open_run_dialog(act, Key::Enter, now_ms));
            }
            Command::Quit => return Ok(self.quit()),
            Command::Theme(name) => {
                self.take_theme(&name)?;
                return Ok(vec![Cmd::Redraw]);
            }
        };
        Ok(self.open_dialog(verb, Key::Enter, now_ms))
    }

    fn take_theme(&mut self, name: &str) -> Result<(), String> {
        let dir = self.settings.theme_dir.as_deref();
        let (depth, symbols) = (self.theme.depth(), self.theme.symbols);
        let loaded = Theme::load(name, dir, depth, symbols);
        let (theme, _) = loaded.map_err(|error| error.to_string())?;
        self.theme = theme;
        Ok(())
    }

    /// The instance that was named, else the selected one.
    ///
    /// # Errors
    /// What to type, where neither is there.
    fn named_or_selected(&self, named: Option<ServerName>) -> Result<ServerName, String> {
        let there = || self.selected_instance().cloned();
        named.or_else(there).ok_or_else(|| {
            let rows = self.view().map(instances::rows).unwrap_or_default();
            let names: Vec<_> = rows.iter().map(|row| row.server.as_str()).collect();
            let names = names.join(", ");
            format!("name an instance, or select one in pane 6; there are: {names}")
        })
    }
}

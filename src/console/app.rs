//! The console's state, and what changes it: `update(message) → commands`. Pure: no terminal, no
//! socket, no clock; the loop brings times and carries out what is asked.

mod acts;
mod keys;
mod news;
mod runs;
mod shown;
mod typed;

use super::dialog::confirm::Confirm;
use super::dialog::help::Help;
use super::dialog::palette::Palette;
use super::input::Heard;
use super::keymap::Keymap;
use super::pane::Pane;
use super::pane::engine_log::EngineLog;
use super::pane::history::History;
use super::pane::logs::Logs;
use super::pane::pipelines::{Output, Runs};
use super::theme::Theme;
use crate::link::wire::Request;
use crate::link::{HelloInfo, LinkEvent};
use crate::model::{Clean, Placement, ServerName};
use crate::view::Snapshot;
use ratatui::layout::Size;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How often new log lines are asked for while they can be seen.
const LOGS_MS: u64 = 500;

/// How long a note stays in the footer.
const TOAST_MS: u64 = 4_000;

/// A line for the person, from what the snapshot shows; for stories told to newcomers.
pub type Guide = Box<dyn Fn(&Snapshot) -> Option<String> + Send>;

/// What Ctrl-C does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtrlC {
    /// The first one asks, a second one leaves; rollouts go on.
    AskTwice,
    /// Leaves at once, and the caller ends everything it began.
    EndsEverything,
}

/// How the console ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleEnd {
    /// The person left it.
    Left,
    /// By Ctrl-C where that [ends everything](CtrlC::EndsEverything).
    Interrupted,
    /// The terminal went away.
    HungUp,
    /// Told by a signal.
    Told,
}

/// What happens to the console.
#[derive(Debug)]
pub enum Msg {
    /// The terminal told something.
    Heard(Heard),
    /// It has another size.
    Resized(Size),
    /// The engine, or its absence.
    Link(LinkEvent),
    /// Time passed.
    Tick,
    /// The console is in front again after a suspension.
    Resumed,
    /// Something the person should know.
    Note(String),
}

/// What the loop is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Cmd {
    /// Ask the engine.
    Ask {
        /// With this id.
        id: u64,
        /// What.
        request: Request,
    },
    /// End the console.
    Leave(ConsoleEnd),
    /// Give the terminal back and stop until continued.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// Call a person who is not looking.
    Call(String),
}

/// What is shown below the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Every placement.
    Fleet,
    /// The selected one.
    Place,
    /// Runs of pipelines.
    Runs,
}

/// What lies over the panes and takes the keys.
#[derive(Debug, Clone, PartialEq)]
pub enum Overlay {
    /// A question before something is done.
    Confirm(Box<Confirm>),
    /// The keys.
    Help(Help),
    /// A command being typed.
    Palette(Palette),
    /// Whether to leave.
    Leave,
}

/// Whom a reply is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Route {
    Dialog,
    Note,
    Logs(Placement, ServerName),
    StageLog(Output),
    History,
}

/// The connection, as the person should know it.
#[derive(Debug, Clone, Default)]
struct LinkState {
    connected: bool,
    hello: Option<HelloInfo>,
    why: Option<Clean>,
}

/// What a console is given at its start.
pub struct Settings {
    /// How it looks.
    pub theme: Theme,
    /// What keys mean.
    pub keymap: Keymap,
    /// Where themes of one's own are.
    pub theme_dir: Option<PathBuf>,
    /// How long dialogs stay locked.
    pub lock_ms: u64,
    /// What Ctrl-C does.
    pub ctrl_c: CtrlC,
    /// A line for newcomers.
    pub guide: Option<Guide>,
    /// SHA-256 (hex) of the configuration the console read.
    pub config_hash: Option<String>,
}

/// The console's state.
pub struct App {
    /// How it looks.
    pub theme: Theme,
    /// What keys mean.
    pub keymap: Keymap,
    /// The newest snapshot.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What is selected: a name, never a row.
    pub selected: Option<Placement>,
    /// The instance that is selected in pane 6: a name, never a row.
    pub(super) instance: Option<ServerName>,
    /// What is shown.
    pub page: Page,
    /// The pane keys go to.
    pub focus: Pane,
    /// What lies over the panes.
    pub overlay: Option<Overlay>,
    /// Pane 3.
    pub logs: Logs,
    /// Pane 5.
    pub history: History,
    /// Pane 8.
    pub engine_log: EngineLog,
    /// Runs of pipelines.
    pub runs: Runs,
    /// Rows above the first one shown in the focused pane.
    pub scroll: usize,
    size: Size,
    zoomed: bool,
    chosen: bool,
    link: LinkState,
    settings: Kept,
    routes: BTreeMap<u64, Route>,
    next_id: u64,
    read_to: BTreeMap<(Placement, ServerName), u64>,
    logs_due_ms: u64,
    toast: Option<(String, u64)>,
    ctrl_c_until_ms: u64,
    looking: Looking,
}

/// Settings that are only looked at.
struct Kept {
    theme_dir: Option<PathBuf>,
    lock_ms: u64,
    ctrl_c: CtrlC,
    guide: Option<Guide>,
    config_hash: Option<String>,
}

/// Whether a person is likely to be looking.
#[derive(Debug, Clone, Copy)]
struct Looking {
    focused: bool,
    last_key_ms: u64,
}

impl App {
    /// A console of that size, not connected.
    pub fn new(settings: Settings, size: Size) -> Self {
        Self {
            theme: settings.theme,
            keymap: settings.keymap,
            snapshot: None,
            selected: None,
            instance: None,
            page: Page::Place,
            focus: Pane::Run,
            overlay: None,
            logs: Logs::default(),
            history: History::default(),
            engine_log: EngineLog::default(),
            runs: Runs::default(),
            scroll: 0,
            size,
            zoomed: false,
            chosen: false,
            link: LinkState::default(),
            settings: Kept {
                theme_dir: settings.theme_dir,
                lock_ms: settings.lock_ms,
                ctrl_c: settings.ctrl_c,
                guide: settings.guide,
                config_hash: settings.config_hash,
            },
            routes: BTreeMap::new(),
            next_id: 1,
            read_to: BTreeMap::new(),
            logs_due_ms: 0,
            toast: None,
            ctrl_c_until_ms: 0,
            looking: Looking {
                focused: true,
                last_key_ms: 0,
            },
        }
    }

    /// Takes a message at a time of the console's own clock (ms since any moment).
    pub fn update(&mut self, msg: Msg, now_ms: u64) -> Vec<Cmd> {
        let mut cmds = match msg {
            Msg::Heard(heard) => self.heard(heard, now_ms),
            Msg::Resized(size) => {
                self.size = size;
                Vec::new()
            }
            Msg::Link(event) => self.news(event, now_ms),
            Msg::Tick => Vec::new(),
            Msg::Resumed => {
                // A dialog from before may not be what the person has in mind now.
                self.overlay = None;
                vec![Cmd::Redraw]
            }
            Msg::Note(text) => {
                self.toast(text, now_ms);
                Vec::new()
            }
        };
        self.pass_time(now_ms, &mut cmds);
        cmds
    }

    fn pass_time(&mut self, now_ms: u64, cmds: &mut Vec<Cmd>) {
        if self
            .toast
            .as_ref()
            .is_some_and(|(_, until)| now_ms >= *until)
        {
            self.toast = None;
        }
        if let Some(Overlay::Confirm(dialog)) = &mut self.overlay {
            dialog.tick(now_ms);
        }
        if now_ms >= self.logs_due_ms {
            self.logs_due_ms = now_ms + LOGS_MS;
            self.ask_logs(cmds);
            cmds.extend(self.ask_stage_log());
        }
    }

    /// When the next [`Msg::Tick`] is due at the latest; `None` if nothing waits for time.
    pub fn wake_ms(&self, now_ms: u64) -> Option<u64> {
        let dialog = match &self.overlay {
            Some(Overlay::Confirm(dialog)) => dialog.wake_ms(now_ms),
            _ => None,
        };
        let toast = self.toast.as_ref().map(|(_, until_ms)| *until_ms);
        let reads = self.reads_logs() || self.reads_stage_log().is_some();
        let logs = reads.then_some(self.logs_due_ms);
        [dialog, toast, logs].into_iter().flatten().min()
    }

    fn toast(&mut self, text: String, now_ms: u64) {
        self.toast = Some((text, now_ms + TOAST_MS));
    }

    fn ask(&mut self, route: Route, request: Request) -> Cmd {
        let id = self.next_id;
        self.next_id += 1;
        self.routes.insert(id, route);
        Cmd::Ask { id, request }
    }
}

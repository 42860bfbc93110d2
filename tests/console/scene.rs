//! An app that is told things and drawn in memory.

use super::fixture::{placement, shared};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Size;
use wheelhouse::console::app::{App, Cmd, CtrlC, Msg, Settings};
use wheelhouse::console::input::{Company, Heard, Key};
use wheelhouse::console::keymap::Keymap;
use wheelhouse::console::screen;
use wheelhouse::console::theme::{Depth, Symbols, Theme};
use wheelhouse::link::wire::{Reply, Request};
use wheelhouse::link::{HelloInfo, LinkEvent};
use wheelhouse::model::{Actor, Role, RolloutNumber};
use wheelhouse::view::{Preview, PreviewLine, Snapshot, Tier};

/// How long dialogs stay locked in these tests.
pub const LOCK_MS: u64 = 400;

pub struct Scene {
    pub app: App,
    pub now_ms: u64,
    /// What was asked of the engine and not answered yet.
    pub asked: Vec<(u64, Request)>,
    /// Other things the loop was told to do.
    pub cmds: Vec<Cmd>,
}

pub fn settings(depth: Depth, symbols: Symbols) -> Settings {
    let name = Theme::default_name(depth);
    let (theme, _) = Theme::load(name, None, depth, symbols).expect("it is shipped");
    Settings {
        theme,
        keymap: Keymap::default(),
        theme_dir: None,
        lock_ms: LOCK_MS,
        ctrl_c: CtrlC::AskTwice,
        guide: None,
        config_hash: Some("ab".to_owned()),
    }
}

impl Scene {
    pub fn of(snapshot: Snapshot, size: (u16, u16)) -> Self {
        Self::with(snapshot, size, settings(Depth::True, Symbols::UTF8))
    }

    pub fn with(snapshot: Snapshot, (width, height): (u16, u16), settings: Settings) -> Self {
        let mut scene = Self {
            app: App::new(settings, Size { width, height }),
            now_ms: 1_000,
            asked: Vec::new(),
            cmds: Vec::new(),
        };
        scene.connect();
        scene.snapshot(snapshot);
        scene
    }

    pub fn connect(&mut self) {
        self.connect_as(Role::Operator);
    }

    /// An engine that takes the person for this.
    pub fn connect_as(&mut self, role: Role) {
        self.tell(Msg::Link(LinkEvent::Connected(HelloInfo {
            version: "0.1.0".into(),
            config_path: "/etc/w.toml".into(),
            config_hash: "ab".into(),
            you: Actor::Person {
                uid: 1_000,
                user: "alice".into(),
            },
            role,
        })));
    }

    pub fn snapshot(&mut self, snapshot: Snapshot) {
        self.tell(Msg::Link(LinkEvent::Snapshot(shared(snapshot))));
    }

    pub fn tell(&mut self, msg: Msg) {
        for cmd in self.app.update(msg, self.now_ms) {
            match cmd {
                Cmd::Ask { id, request } => self.asked.push((id, request)),
                cmd => self.cmds.push(cmd),
            }
        }
    }

    pub fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        self.tell(Msg::Tick);
    }

    /// A key pressed by itself, a while after the one before.
    pub fn press(&mut self, key: Key) {
        self.now_ms += 200;
        self.tell(Msg::Heard(Heard::Key(key, Company::Alone)));
    }

    pub fn letters(&mut self, text: &str) {
        for c in text.chars() {
            self.press(Key::Char(c));
        }
    }

    /// Answers the newest request that `which` picks.
    pub fn answer(&mut self, which: impl Fn(&Request) -> bool, reply: Reply) {
        let at = self.asked.iter().rposition(|(_, request)| which(request));
        let (id, _) = self.asked.remove(at.expect("such a request is open"));
        self.tell(Msg::Link(LinkEvent::Reply { id, reply }));
    }

    pub fn preview(&mut self, preview: Preview) {
        let reply = Reply::Preview {
            preview: Box::new(preview),
        };
        self.answer(|request| matches!(request, Request::Preview { .. }), reply);
    }

    /// Commands sent so far.
    pub fn commands(&self) -> Vec<&Request> {
        let requests = self.asked.iter().map(|(_, request)| request);
        requests
            .filter(|request| matches!(request, Request::Command { .. }))
            .collect()
    }

    pub fn draw(&self, (width, height): (u16, u16)) -> Buffer {
        let mut terminal =
            Terminal::new(TestBackend::new(width, height)).expect("memory takes everything");
        terminal
            .draw(|frame| {
                screen::draw(&self.app, frame, self.now_ms);
            })
            .expect("memory takes everything");
        terminal.backend().buffer().clone()
    }

    pub fn text(&self, size: (u16, u16)) -> String {
        lines(&self.draw(size)).join("\n")
    }
}

pub fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width).max(1);
    buffer
        .content
        .chunks(width)
        .map(|row| {
            let line: String = row.iter().map(|cell| cell.symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect()
}

fn line(label: &str, text: &str) -> PreviewLine {
    PreviewLine {
        label: label.into(),
        text: text.into(),
    }
}

/// What the engine says to `promote` of the soaking rollout.
pub fn promote() -> Preview {
    Preview {
        placement: placement(),
        verb: "promote".into(),
        title: "PROMOTE canary to 50% - shop PRODUCTION".into(),
        button: "Shift 25% -> 50%".into(),
        tier: Tier::Two,
        number: Some(RolloutNumber(1_841)),
        revision: 12,
        lines: vec![
            line("Versions", "v1 -> v2"),
            line("This will", "share traffic v2 50%, v1 50%, read back"),
            line("Checks", "pass: 6 of 7 rules satisfied, none broken"),
            line("Then", "watch for 5 min; then 100% unless it fails"),
            line("Undo", "A abort, traffic back within a second"),
        ],
        warnings: vec!["the soak is not finished (03:12 of 05:00)".into()],
        refused: None,
        effects: Vec::new(),
    }
}

/// What it says to `abort`.
pub fn abort() -> Preview {
    Preview {
        verb: "abort".into(),
        title: "ABORT rollout - shop PRODUCTION".into(),
        button: "Shift 25% -> 0%".into(),
        tier: Tier::One,
        lines: vec![
            line("Versions", "v1 -> v2"),
            line("This will", "share traffic v1 100%, read back"),
            line("", "close the rollout: aborted by alice"),
            line("Undo", "deploy it again"),
        ],
        warnings: Vec::new(),
        ..promote()
    }
}

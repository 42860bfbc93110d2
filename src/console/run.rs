//! The loop around [`App`]: keys, the engine's word, signals and time in; frames and requests
//! out. Draws only what changed, and only so often.

mod options;
mod pace;
mod signals;
mod tail;

pub use options::{ConsoleError, ConsoleOptions};

use super::app::{App, Cmd, ConsoleEnd, Msg, Settings};
use super::input::{Decoder, Heard};
use super::keymap::Keymap;
use super::terminal::{self, Input, Output, Picture, Terminal};
use super::theme::Theme;
use crate::config::{Attention, Toggle};
use crate::link::wire::{Reply, Request};
use crate::link::{Backoff, LinkEvent, follow};
use crate::model::Clean;
use pace::Pace;
use signals::{Signals, Told};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Reads of the terminal that may wait: a key storm is longer, and loses keys.
const INPUT_QUEUE: usize = 256;

/// Requests and events that may wait between console and link.
const LINK_QUEUE: usize = 64;

/// How long a lone Esc waits, here and over SSH.
const ESC_MS: u64 = 40;
const ESC_SSH_MS: u64 = 100;

/// How long dialogs stay locked, here and over SSH.
const LOCK_MS: u64 = 400;
const LOCK_SSH_MS: u64 = 700;

/// The console looks for a lost engine this often at most, so that a restart is seen soon.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(3),
};

/// Shows the console until the person leaves it or the terminal goes away. Never touches a
/// rollout by ending.
///
/// # Errors
/// Before anything is drawn; the terminal is as it was.
pub async fn run(options: ConsoleOptions) -> Result<ConsoleEnd, ConsoleError> {
    let tty = io::stdin().is_terminal() && io::stdout().is_terminal();
    if !tty || options.surroundings.is_dumb() {
        return Err(ConsoleError::NoTerminal);
    }
    let keymap = Keymap::new(&options.keys)?;
    let (theme, warnings) = options::theme(&options)?;
    tail::log_to_pane();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    // Colours are our own decision: crossterm's reading of NO_COLOR loses attributes too.
    crossterm::style::force_color_output(true);
    terminal::hook_panics();
    let signals = Signals::new()?;
    let terminal = Terminal::take()?;
    let mut running = Running::new(options, keymap, theme, terminal, signals)?;
    let end = running.run().await;
    running.end();
    Ok(end)
}

/// What the loop waits for.
enum Woken {
    Input(Option<Input>),
    Told(Told),
    Link(Option<LinkEvent>),
    Logged,
    Written,
    Time,
}

struct Running {
    app: App,
    picture: Picture,
    /// What the terminal must do before the next frame.
    before_frame: Vec<u8>,
    output: Output,
    terminal: Terminal,
    decoder: Decoder,
    signals: Signals,
    input: mpsc::Receiver<Input>,
    /// Ends the input thread when dropped.
    listening: Option<std::os::unix::net::UnixStream>,
    requests: mpsc::Sender<(u64, Request)>,
    events: mpsc::Receiver<LinkEvent>,
    logged: Arc<Notify>,
    tasks: Vec<JoinHandle<()>>,
    began: Instant,
    pace: Pace,
    notify: Attention,
}

impl Running {
    fn new(
        options: ConsoleOptions,
        keymap: Keymap,
        theme: Theme,
        terminal: Terminal,
        signals: Signals,
    ) -> io::Result<Self> {
        let around = &options.surroundings;
        let settings = &options.settings;
        let synchronized = match settings.synchronized_output {
            Toggle::Auto => !around.term.starts_with("vt") && around.term != "linux",
            Toggle::On => true,
            Toggle::Off => false,
        };
        let output = Output::start(terminal.writer()?, synchronized)?;
        let (keys, input) = mpsc::channel(INPUT_QUEUE);
        let listening = terminal::listen(terminal.reader()?, keys)?;
        let (requests, asked) = mpsc::channel(LINK_QUEUE);
        let (told, events) = mpsc::channel(LINK_QUEUE);
        let by_line = if around.ssh { ESC_SSH_MS } else { ESC_MS };
        let esc_ms = settings.esc_timeout_ms.map_or(by_line, u64::from);
        let size = terminal.size();
        let pace = Pace::new(settings.low_bandwidth, around.ssh);
        let notify = settings.notify;
        let app = App::new(
            Settings {
                theme,
                keymap,
                theme_dir: options.theme_dir,
                lock_ms: if around.ssh { LOCK_SSH_MS } else { LOCK_MS },
                ctrl_c: options.ctrl_c,
                guide: options.guide,
                config_hash: options.client.config_hash.clone(),
            },
            size,
        );
        let logged = Arc::new(Notify::new());
        let mut tasks = vec![tokio::spawn(async move {
            follow(&options.socket, &options.client, BACKOFF, asked, told).await;
        })];
        if let Some(path) = options.engine_log {
            tasks.push(tokio::spawn(tail::tail(path, logged.clone())));
        }
        Ok(Self {
            app,
            picture: Picture::new(size),
            before_frame: Vec::new(),
            output,
            terminal,
            decoder: Decoder::new(esc_ms),
            signals,
            input,
            listening: Some(listening),
            requests,
            events,
            logged,
            tasks,
            began: Instant::now(),
            pace,
            notify,
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn run(&mut self) -> ConsoleEnd {
        self.output.raw(terminal::ENTER.to_vec());
        loop {
            self.draw();
            let end = match self.wait().await {
                Woken::Input(None | Some(Input::HungUp)) => return ConsoleEnd::HungUp,
                Woken::Input(Some(Input::Bytes(bytes, at))) => self.bytes(&bytes, at).await,
                Woken::Told(Told::End) => return ConsoleEnd::Told,
                Woken::Told(Told::HungUp) => return ConsoleEnd::HungUp,
                Woken::Told(Told::Resized) => {
                    self.resize();
                    None
                }
                Woken::Told(Told::Continued) => self.resume().await,
                Woken::Link(Some(event)) => self.take(Msg::Link(event)).await,
                Woken::Link(None) => {
                    let why = "the console's own link stopped; leave and start it again";
                    let why = Clean::from(why);
                    self.events = mpsc::channel(1).1;
                    self.take(Msg::Link(LinkEvent::Disconnected { why })).await
                }
                Woken::Logged => {
                    self.pace.dirty = true;
                    None
                }
                Woken::Written => None,
                Woken::Time => self.time().await,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let now_ms = self.now_ms();
        let frame = self.pace.dirty.then_some(self.pace.next_ms);
        // While a frame is being written there is nothing to draw on.
        let busy = self.output.is_busy();
        let wakes = [
            self.app.wake_ms(now_ms),
            self.decoder.deadline_ms(),
            frame.filter(|_| !busy),
        ];
        let wake = wakes.into_iter().flatten().min();
        let sleep = async {
            match wake {
                Some(at_ms) => {
                    tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms))).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            input = self.input.recv() => Woken::Input(input),
            told = self.signals.next() => Woken::Told(told),
            () = self.output.idle(), if busy => Woken::Written,
            event = self.events.recv(), if !self.events.is_closed() || !self.events.is_empty() => {
                Woken::Link(event)
            }
            () = self.logged.notified() => Woken::Logged,
            () = sleep => Woken::Time,
        }
    }

    async fn time(&mut self) -> Option<ConsoleEnd> {
        let now_ms = self.now_ms();
        for heard in self.decoder.tick(now_ms) {
            let end = self.hear(heard, now_ms).await;
            if end.is_some() {
                return end;
            }
        }
        let due = self
            .app
            .wake_ms(now_ms)
            .is_some_and(|at_ms| now_ms >= at_ms);
        match due {
            true => self.take(Msg::Tick).await,
            false => None,
        }
    }

    async fn bytes(&mut self, bytes: &[u8], at: Instant) -> Option<ConsoleEnd> {
        let at_ms = at.saturating_duration_since(self.began).as_millis();
        let at_ms = u64::try_from(at_ms).unwrap_or(u64::MAX);
        for heard in self.decoder.feed(bytes, at_ms) {
            let end = self.hear(heard, at_ms).await;
            if end.is_some() {
                return end;
            }
        }
        None
    }

    async fn hear(&mut self, heard: Heard, at_ms: u64) -> Option<ConsoleEnd> {
        match heard {
            Heard::FocusGained => self.pace.focused = true,
            Heard::FocusLost => self.pace.focused = false,
            Heard::Key(..) | Heard::Paste => {
                // Whoever types sees it at once.
                self.pace.focused = true;
                self.pace.next_ms = 0;
            }
        }
        self.take_at(Msg::Heard(heard), at_ms).await
    }

    async fn take(&mut self, msg: Msg) -> Option<ConsoleEnd> {
        self.take_at(msg, self.now_ms()).await
    }

    async fn take_at(&mut self, msg: Msg, now_ms: u64) -> Option<ConsoleEnd> {
        self.pace.dirty = true;
        let cmds = terminal::on_screen(|| self.app.update(msg, now_ms));
        for cmd in cmds {
            match cmd {
                Cmd::Ask { id, request } => self.ask(id, request),
                Cmd::Leave(end) => return Some(end),
                Cmd::Redraw => self.redraw(),
                Cmd::Call(text) => self.call(&text),
                Cmd::Suspend => self.suspend().await,
            }
        }
        None
    }

    fn ask(&mut self, id: u64, request: Request) {
        if self.requests.try_send((id, request)).is_ok() {
            return;
        }
        let text = Clean::from("nothing was sent: too many requests are under way; try again");
        let reply = Reply::Error { text };
        let now_ms = self.now_ms();
        // A failed request asks for nothing in turn.
        terminal::on_screen(|| {
            let event = LinkEvent::Reply { id, reply };
            self.app.update(Msg::Link(event), now_ms)
        });
    }

    fn resize(&mut self) {
        let (size, now_ms) = (self.terminal.size(), self.now_ms());
        terminal::on_screen(|| self.app.update(Msg::Resized(size), now_ms));
        self.redraw();
    }

    /// Forgets what the terminal shows, so that the next frame draws everything.
    fn redraw(&mut self) {
        self.picture = Picture::new(self.terminal.size());
        self.before_frame = terminal::CLEAR.to_vec();
        self.pace.dirty = true;
    }

    fn draw(&mut self) {
        let now_ms = self.now_ms();
        if !self.pace.is_due(now_ms) || self.output.is_busy() {
            return;
        }
        let picture = &mut self.picture;
        let app = &mut self.app;
        let bytes = terminal::on_screen(|| picture.draw(app, now_ms));
        // Cleared and drawn in one write, so that nothing flickers.
        let mut frame = std::mem::take(&mut self.before_frame);
        frame.extend(bytes);
        self.output.frame(frame);
        self.pace.drawn(now_ms);
    }

    fn call(&self, text: &str) {
        let bytes = match self.notify {
            Attention::Off => return,
            Attention::Auto | Attention::Bell => "\x07".to_owned(),
            Attention::Osc9 => format!("\x1b]9;wheelhouse: {text}\x07"),
            Attention::Osc777 => format!("\x1b]777;notify;wheelhouse;{text}\x07"),
        };
        self.output.raw(bytes.into_bytes());
    }

    async fn suspend(&mut self) {
        self.output.settle(Duration::from_millis(200));
        terminal::emergency_restore();
        let stopped = self.signals.stop().await;
        self.back(stopped);
    }

    async fn resume(&mut self) -> Option<ConsoleEnd> {
        self.back(true);
        None
    }

    /// Takes the terminal again.
    fn back(&mut self, stopped: bool) {
        if let Err(error) = self.terminal.enter() {
            tracing::error!("the terminal cannot be taken again: {error}");
        }
        self.output.raw(terminal::ENTER.to_vec());
        let now_ms = self.now_ms();
        terminal::on_screen(|| {
            self.app.update(Msg::Resumed, now_ms);
            if !stopped {
                let text = "no shell is waiting here: not suspended".to_owned();
                self.app.update(Msg::Note(text), now_ms);
            }
        });
        self.resize();
    }

    fn end(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.output.settle(Duration::from_millis(200));
        terminal::emergency_restore();
        self.listening = None;
    }
}

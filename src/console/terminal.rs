//! The terminal: taken at the start, given back whatever happens.
//!
//! A frame is collected in memory and written by one call on a thread of its own, so a terminal
//! that takes nothing stops no decision. Nothing is asked of the terminal and no mode is changed
//! while the screen is up.

mod input;
mod output;
mod quiet;

pub(super) use input::{Input, listen};
pub use output::Output;

use super::app::App;
use super::screen;
use quiet::Quiet;
use ratatui::layout::{Rect, Size};
use ratatui::{TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Alternate screen, cleared; cursor hidden; pastes and focus are told.
pub const ENTER: &[u8] = b"\x1b[?1049h\x1b[0m\x1b[2J\x1b[H\x1b[?25l\x1b[?2004h\x1b[?1004h";

/// Forgets what is shown.
pub const CLEAR: &[u8] = b"\x1b[0m\x1b[2J\x1b[H";

/// The way back from anything: synchronized update off, kitty's keys popped, mouse, focus and
/// paste off, attributes reset, cursor shown, alternate screen left.
pub const RESTORE: &[u8] = b"\x1b[?2026l\x1b[<u\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\
    \x1b[?1004l\x1b[?2004l\x1b[0m\x1b[?25h\x1b[?1049l";

/// How long a terminal that takes nothing is waited for when it is given back.
const RESTORE_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// What is needed to give the terminal back; there while it is taken. A static, because a panic
/// hook has nothing else to reach it by.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

struct Taken {
    before: Termios,
    input: OwnedFd,
    output: OwnedFd,
}

thread_local! {
    /// Whether this thread is in the middle of deciding or drawing.
    static ON_SCREEN: Cell<bool> = const { Cell::new(false) };
}

fn taken() -> MutexGuard<'static, Option<Taken>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the terminal back, once; for drops, signals, panics and suspensions alike.
pub fn emergency_restore() {
    let Some(taken) = taken().take() else {
        return;
    };
    let mut ready = [PollFd::new(&taken.output, PollFlags::OUT)];
    let writable = poll(&mut ready, Some(&RESTORE_WAIT)).is_ok_and(|n| n > 0);
    // A terminal that is gone or takes nothing cannot be helped, and nobody is left to tell.
    if writable {
        rustix::io::write(&taken.output, RESTORE).ok();
    }
    tcsetattr(&taken.input, OptionalActions::Now, &taken.before).ok();
}

/// Runs what decides or draws; a panic within it gives the terminal back before it is printed.
pub(super) fn on_screen<T>(work: impl FnOnce() -> T) -> T {
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            ON_SCREEN.set(false);
        }
    }
    ON_SCREEN.set(true);
    let _off = Off;
    work()
}

/// Makes panics of the screen give the terminal back, and those of other tasks only be logged:
/// drawing goes on meanwhile.
pub(super) fn hook_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let up = taken().is_some();
        if !up || ON_SCREEN.get() {
            emergency_restore();
            before(panic);
        } else {
            tracing::error!("a task of the console panicked: {panic}");
        }
    }));
}

/// The terminal, taken.
#[derive(Debug)]
pub struct Terminal {
    input: OwnedFd,
    output: OwnedFd,
}

impl Terminal {
    /// Takes the terminal of standard input and output.
    ///
    /// # Errors
    /// When it cannot be made raw.
    pub fn take() -> io::Result<Self> {
        let terminal = Self {
            input: io::stdin().as_fd().try_clone_to_owned()?,
            output: io::stdout().as_fd().try_clone_to_owned()?,
        };
        terminal.enter()?;
        Ok(terminal)
    }

    /// Takes it again after [`emergency_restore`], or after somebody else had it.
    ///
    /// # Errors
    /// When it cannot be made raw.
    pub fn enter(&self) -> io::Result<()> {
        let mut kept = taken();
        let before = match kept.take() {
            Some(taken) => taken.before,
            None => tcgetattr(&self.input)?,
        };
        let mut raw = before.clone();
        raw.make_raw();
        *kept = Some(Taken {
            before,
            input: self.input.try_clone()?,
            output: self.output.try_clone()?,
        });
        tcsetattr(&self.input, OptionalActions::Now, &raw)?;
        Ok(())
    }

    /// A copy to read from.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    pub fn reader(&self) -> io::Result<OwnedFd> {
        self.input.try_clone()
    }

    /// A copy to write to.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    pub fn writer(&self) -> io::Result<OwnedFd> {
        self.output.try_clone()
    }

    /// Its size now; nothing where it has none.
    pub fn size(&self) -> Size {
        tcgetwinsize(&self.output).map_or(Size::new(0, 0), |size| Size {
            width: size.ws_col,
            height: size.ws_row,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        emergency_restore();
    }
}

/// Largest screen drawn; a terminal may claim any size.
const CELLS_MAX: u16 = 500;

/// Draws frames as differences to the one before.
pub struct Picture {
    terminal: ratatui::Terminal<Quiet>,
    bytes: quiet::Bytes,
    size: Size,
}

impl Picture {
    /// A picture of that size; what the terminal shows is taken to be nothing.
    pub fn new(size: Size) -> Self {
        let size = Size {
            width: size.width.min(CELLS_MAX),
            height: size.height.min(CELLS_MAX),
        };
        let bytes = quiet::Bytes::default();
        let area = Rect::from((ratatui::layout::Position::ORIGIN, size));
        let options = TerminalOptions {
            viewport: Viewport::Fixed(area),
        };
        let quiet = Quiet::new(bytes.clone(), size);
        let terminal = ratatui::Terminal::with_options(quiet, options)
            .expect("a fixed viewport asks the terminal nothing, and memory takes every byte");
        Self {
            terminal,
            bytes,
            size,
        }
    }

    /// The bytes that turn the last frame into this one; empty when it is the same.
    pub fn draw(&mut self, app: &mut App, now_ms: u64) -> Vec<u8> {
        if self.size.width == 0 || self.size.height == 0 {
            return Vec::new();
        }
        let mut furthest = 0;
        self.terminal
            .draw(|frame| furthest = screen::draw(app, frame, now_ms))
            .expect("memory takes every byte");
        app.drawn(furthest);
        self.bytes.take()
    }
}

//! A terminal with the console in it, and a person's keys.

use crate::haproxy::until;
use crate::process::PROGRAM;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

const SIZE: PtySize = PtySize {
    rows: 40,
    cols: 120,
    pixel_width: 0,
    pixel_height: 0,
};

/// A console in a pseudo terminal; it is ended with its terminal.
pub struct Terminal {
    screen: Arc<Mutex<vt100::Parser>>,
    keys: Box<dyn Write + Send>,
    console: Box<dyn Child + Send + Sync>,
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    pub fn with_console(config: &Path) -> Self {
        let pair = native_pty_system().openpty(SIZE).expect("a pty");
        let mut command = CommandBuilder::new(PROGRAM);
        command.arg("--config");
        command.arg(config);
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        let console = pair.slave.spawn_command(command).expect("it starts");
        drop(pair.slave);
        let screen = vt100::Parser::new(SIZE.rows, SIZE.cols, 0);
        let screen = Arc::new(Mutex::new(screen));
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let shown = Arc::clone(&screen);
        // Ends with the terminal.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                shown
                    .lock()
                    .expect("nothing panics here")
                    .process(&bytes[..read]);
            }
        });
        Self {
            screen,
            keys: pair.master.take_writer().expect("a writer"),
            console,
            _master: pair.master,
        }
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("it reads");
        self.keys.flush().expect("it reads");
    }

    /// Waits until a text is on the screen.
    pub async fn shows(&self, text: &str) {
        until(&format!("{text:?} on the screen"), async || {
            self.contents().contains(text)
        })
        .await;
    }

    pub fn contents(&self) -> String {
        let screen = self.screen.lock().expect("nothing panics here");
        screen.screen().contents()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the screen ----\n{}", self.contents());
        }
        let ended = self.console.kill().and_then(|()| self.console.wait());
        if let Err(error) = ended {
            eprintln!("the console could not be ended: {error}");
        }
    }
}

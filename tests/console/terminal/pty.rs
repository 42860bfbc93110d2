//! A pseudo terminal with the program at its end.

use super::engine::Engine;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything to be drawn.
const DEADLINE: Duration = Duration::from_secs(20);

struct Seen {
    parser: vt100::Parser,
    bytes: Vec<u8>,
    at: Instant,
    /// The next bytes read are the last ones.
    closing: bool,
}

pub struct Pty {
    /// The terminal's modes before the program began.
    pub modes_before: String,
    master: Option<Box<dyn MasterPty + Send>>,
    writer: Option<Box<dyn Write + Send>>,
    tty: PathBuf,
    child: Box<dyn Child + Send + Sync>,
    pid: Option<PathBuf>,
    reader: Option<JoinHandle<()>>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Pty {
    /// Starts the console as the leader of the terminal's session.
    pub fn start(engine: &Engine, size: (u16, u16), env: &[(&str, &str)]) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_wheelhouse"));
        command.arg("--config");
        command.arg(engine.config());
        Self::spawn(command, size, env, None)
    }

    /// Starts one test of this very binary.
    pub fn start_test(name: &str, size: (u16, u16), env: &[(&str, &str)]) -> Self {
        let mut command = CommandBuilder::new(std::env::current_exe().expect("it runs"));
        command.args([name, "--exact", "--nocapture"]);
        Self::spawn(command, size, env, None)
    }

    /// Starts it in a session of its own: the kernel sends it no SIGHUP.
    pub fn start_apart(engine: &Engine, size: (u16, u16)) -> Self {
        let pid = engine.dir().join("console.pid");
        let mut command = CommandBuilder::new("sh");
        command.arg("-c");
        command.arg(r#"setsid sh -c 'echo $$ > "$0"; exec "$@"' "$@""#);
        command.arg("sh");
        command.arg(&pid);
        command.arg(env!("CARGO_BIN_EXE_wheelhouse"));
        command.arg("--config");
        command.arg(engine.config());
        Self::spawn(command, size, &[], Some(pid))
    }

    fn spawn(
        mut command: CommandBuilder,
        (cols, rows): (u16, u16),
        env: &[(&str, &str)],
        pid: Option<PathBuf>,
    ) -> Self {
        let size = PtySize {
            rows,
            cols,
            ..PtySize::default()
        };
        let pair = native_pty_system().openpty(size).expect("a pty");
        for name in ["NO_COLOR", "SSH_CONNECTION", "SSH_TTY", "LC_ALL", "TMUX"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        for (name, value) in env {
            command.env(name, value);
        }
        let tty = pair.master.tty_name().expect("it has a name");
        let modes_before = modes(&tty);
        let child = pair.slave.spawn_command(command).expect("it starts");
        drop(pair.slave);
        let seen = Arc::new((
            Mutex::new(Seen {
                parser: vt100::Parser::new(rows, cols, 0),
                bytes: Vec::new(),
                at: Instant::now(),
                closing: false,
            }),
            Condvar::new(),
        ));
        let reader = pair.master.try_clone_reader().expect("a reader");
        let shared = seen.clone();
        let reader = std::thread::spawn(move || read(reader, &shared));
        Self {
            modes_before,
            writer: Some(pair.master.take_writer().expect("a writer")),
            master: Some(pair.master),
            tty,
            child,
            pid,
            reader: Some(reader),
            seen,
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let writer = self.writer.as_mut().expect("the terminal is there");
        writer.write_all(bytes).expect("the program reads");
        writer.flush().expect("the program reads");
    }

    pub fn resize(&self, cols: u16, rows: u16) {
        let size = PtySize {
            rows,
            cols,
            ..PtySize::default()
        };
        let master = self.master.as_ref().expect("the terminal is there");
        master.resize(size).expect("it can be resized");
        let mut seen = self.seen.0.lock().expect("no panic");
        seen.parser.screen_mut().set_size(rows.max(1), cols.max(1));
    }

    /// Waits until a text is on the screen.
    pub fn until(&self, text: &str) {
        let there = self.wait(DEADLINE, |seen| {
            seen.parser.screen().contents().contains(text)
        });
        assert!(there, "no {text:?} on:\n{}", self.screen());
    }

    /// Waits until a text is on the screen no more.
    pub fn until_gone(&self, text: &str) {
        let gone = self.wait(DEADLINE, |seen| {
            !seen.parser.screen().contents().contains(text)
        });
        assert!(gone, "still {text:?} on:\n{}", self.screen());
    }

    /// Sends keys one after the other, again and again, until a text is on the screen.
    pub fn until_after_each(&mut self, keys: &[&[u8]], text: &str) {
        let shows = |seen: &Seen| seen.parser.screen().contents().contains(text);
        for _ in 0..20 {
            for key in keys {
                self.send(key);
                if self.wait(Duration::from_millis(500), shows) {
                    return;
                }
            }
        }
        panic!("no {text:?} on:\n{}", self.screen());
    }

    /// Waits until nothing was written for so long.
    pub fn until_still(&self, still: Duration) {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            let at = self.seen.0.lock().expect("no panic").at;
            match still.checked_sub(at.elapsed()) {
                Some(left) => self.let_pass(left + Duration::from_millis(1)),
                None => return,
            }
        }
        panic!("it never stands still");
    }

    /// Lets time pass: part of what is done to the program, not a wait for it.
    pub fn let_pass(&self, time: Duration) {
        std::thread::park_timeout(time);
    }

    fn wait(&self, at_most: Duration, done: impl Fn(&Seen) -> bool) -> bool {
        let (seen, changed) = &*self.seen;
        let guard = seen.lock().expect("no panic");
        let (guard, _) = changed
            .wait_timeout_while(guard, at_most, |seen| !done(seen))
            .expect("no panic");
        done(&guard)
    }

    pub fn output(&self) -> Vec<u8> {
        self.seen.0.lock().expect("no panic").bytes.clone()
    }

    fn screen(&self) -> String {
        self.seen
            .0
            .lock()
            .expect("no panic")
            .parser
            .screen()
            .contents()
    }

    /// The terminal's modes now.
    pub fn modes(&self) -> String {
        modes(&self.tty)
    }

    pub fn terminate(&self) {
        let pid = self.child.process_id().expect("it runs");
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("not 0");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }

    /// Waits for its end and for all it wrote; its exit code.
    pub fn ended(&mut self, at_most: Duration) -> Option<u32> {
        let until = Instant::now() + at_most;
        while Instant::now() < until {
            if let Ok(Some(status)) = self.child.try_wait() {
                let end = |seen: &Seen| seen.bytes.ends_with(b"\x1b[?1049l");
                self.wait(at_most, end);
                return Some(status.exit_code());
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        None
    }

    /// Takes the terminal away; whether the program is gone in time.
    pub fn hang_up(&mut self, at_most: Duration) -> bool {
        let pid = match &self.pid {
            Some(file) => {
                let text = std::fs::read_to_string(file).expect("it was written");
                text.trim().to_owned()
            }
            None => self.child.process_id().expect("it runs").to_string(),
        };
        // The reading thread holds the terminal too, and lets go of it with the next bytes.
        self.seen.0.lock().expect("no panic").closing = true;
        self.send(b"\x0c");
        let reader = self.reader.take().expect("not hung up before");
        reader.join().expect("no panic");
        self.writer = None;
        self.master = None;
        let until = Instant::now() + at_most;
        while Instant::now() < until {
            if self.pid.is_none() {
                // Reaps it.
                if let Ok(Some(_)) = self.child.try_wait() {
                    return true;
                }
            } else if is_gone(&pid) {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Gone, or only waiting for its parent to notice.
fn is_gone(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim().starts_with('Z')),
        Err(_) => true,
    }
}

fn modes(tty: &PathBuf) -> String {
    let tty = std::fs::File::open(tty).expect("it is there");
    let modes = rustix::termios::tcgetattr(&tty).expect("it is a terminal");
    format!("{modes:?}")
}

fn read(mut terminal: Box<dyn Read + Send>, shared: &(Mutex<Seen>, Condvar)) {
    let (seen, changed) = shared;
    let mut chunk = [0; 65_536];
    // An error is how a pty says that its other end is closed.
    while let Ok(read @ 1..) = terminal.read(&mut chunk) {
        let mut seen = seen.lock().expect("no panic");
        seen.bytes.extend_from_slice(&chunk[..read]);
        seen.parser.process(&chunk[..read]);
        seen.at = Instant::now();
        changed.notify_all();
        if seen.closing {
            return;
        }
    }
}

//! One process of a stage: started, asked to end, killed, never left behind.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_wheelhouse");

/// How long a process may take to end when it is asked to.
const END: Duration = Duration::from_secs(10);

/// A `wheelhouse` process that writes its log to a file.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(config: &Path, log: PathBuf, arguments: &[&str]) -> Self {
        let file = OpenOptions::new().append(true).create(true).open(&log);
        let child = Command::new(PROGRAM)
            .arg("--config")
            .arg(config)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file.expect("a log file"))
            .spawn()
            .expect("the program starts");
        Self { child, log }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal to our own child");
    }

    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// As a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Asks it to end and waits; `None` when it does not, and had to be killed.
    pub fn end(&mut self) -> Option<ExitStatus> {
        if !self.runs() {
            return self.child.wait().ok();
        }
        self.signal(Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < END {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        None
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

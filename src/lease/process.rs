//! Whether a process still runs: its id alone may be another's by now.

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use std::fs;

/// What the kernel says of a process beside its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Within which process ids are counted, e.g. `pid:[4026531836]`: containers count their own.
    pub namespace: String,
    /// When it began, in the kernel's ticks since the boot.
    pub started: u64,
}

impl Process {
    /// This one; `None` where the kernel does not tell.
    pub fn own() -> Option<Self> {
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let (_, started) = stat(std::process::id())?;
        Some(Self {
            namespace: namespace.to_str()?.to_owned(),
            started,
        })
    }

    /// Whether the process with this id is this one, and runs. Must be of our own namespace. What
    /// cannot be seen counts as running.
    pub(super) fn runs(&self, pid: u32) -> bool {
        let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return true;
        };
        if test_kill_process(id) == Err(rustix::io::Errno::SRCH) {
            return false;
        }
        // Another user's may be hidden in /proc.
        stat(pid).is_none_or(|(state, started)| {
            let ended = matches!(state, 'Z' | 'X');
            !ended && started == self.started
        })
    }
}

/// State and start of a process. Its name may hold anything, so fields are counted after the last
/// bracket.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit(')').next()?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_runs_until_it_ended_and_another_of_its_id_is_not_it() {
        let own = Process::own().expect("Linux");
        assert!(own.runs(std::process::id()));
        let later = Process {
            started: own.started + 1,
            ..own.clone()
        };
        assert!(!later.runs(std::process::id()));
        let mut child = Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat");
        let pid = child.id();
        let (_, started) = stat(pid).expect("there");
        let theirs = Process { started, ..own };
        assert!(theirs.runs(pid));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        assert!(!theirs.runs(pid), "gone");
    }
}

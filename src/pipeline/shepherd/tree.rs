//! Everything below this process: adopted, found and killed. On Linux by `/proc`; elsewhere only
//! process groups can be ended, and nothing is found here.

use rustix::process::Pid;
#[cfg(target_os = "linux")]
use rustix::process::{Signal, WaitOptions, kill_process, wait};

/// Becomes the parent of whatever loses its own below this process.
pub(super) fn adopt() {
    #[cfg(target_os = "linux")]
    {
        // Where it is refused only the group is ended.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
}

/// Whether nothing below this process runs any more; `leader` is its child that is not reaped yet.
pub(super) fn is_over(leader: Pid) -> bool {
    #[cfg(target_os = "linux")]
    {
        let _ = leader;
        below().is_empty()
    }
    #[cfg(not(target_os = "linux"))]
    {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        matches!(waitid(WaitId::Pid(leader), options), Ok(Some(_)) | Err(_))
    }
}

/// Kills everything below this process, and reaps what ended. Gives back how many were still there.
pub(super) fn kill_all() -> usize {
    #[cfg(target_os = "linux")]
    {
        let found = below();
        for process in &found {
            // One that ended meanwhile needs no signal.
            let _ = kill_process(*process, Signal::KILL);
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        found.len()
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}

/// Reaps what was adopted and ended; the child that is waited for elsewhere is left.
pub(super) fn reap_adopted(leader: Pid) {
    #[cfg(target_os = "linux")]
    {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let all = processes();
        let ended = all
            .iter()
            .filter(|process| process.parent == me && !process.runs);
        for child in ended.filter_map(|process| Pid::from_raw(process.id)) {
            if child != leader {
                // Whoever else reaped it did the same.
                let _ = rustix::process::waitpid(Some(child), WaitOptions::NOHANG);
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = leader;
    }
}

/// What runs below this process, children before grandchildren; what ended and waits to be reaped
/// is not among it.
#[cfg(target_os = "linux")]
fn below() -> Vec<Pid> {
    let all = processes();
    let mut found = vec![rustix::process::getpid().as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let children = all.iter().filter(|process| process.parent == parent);
        let fresh: Vec<i32> = children.map(|child| child.id).collect();
        found.extend(fresh.into_iter().filter(|id| *id != parent));
    }
    let runs = |id: &i32| all.iter().any(|process| process.id == *id && process.runs);
    let below = found.into_iter().skip(1).filter(runs);
    below.filter_map(Pid::from_raw).collect()
}

#[cfg(target_os = "linux")]
struct Process {
    id: i32,
    parent: i32,
    runs: bool,
}

#[cfg(target_os = "linux")]
fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let of = |entry: std::fs::DirEntry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read(entry.path().join("stat")).ok()?;
        parse(id, &String::from_utf8_lossy(&stat))
    };
    entries.flatten().filter_map(of).collect()
}

/// `4242 (name with ) in it) S 4241 …`.
#[cfg(target_os = "linux")]
fn parse(id: i32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?;
    let parent = words.next()?.parse().ok()?;
    Some(Process {
        id,
        parent,
        runs: !matches!(state, "Z" | "X"),
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let process = parse(7, "7 (a ) S 1) Z 42 7 7 0").expect("read");
        assert_eq!((process.id, process.parent, process.runs), (7, 42, false));
        assert!(parse(7, "7 (a) S").is_none());
    }
}

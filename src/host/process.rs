//! Processes and their groups: who they are, and how they are ended.
//!
//! A process id alone names nobody, since ids are used again; with its start time it does. Must
//! not know why a process is ended.

use super::store::RecordedProcess;
use rustix::process::{Pid, Signal};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Environment variable that carries a run's identity, so that a process which was begun but
/// never recorded can be found.
pub const RUN_VARIABLE: &str = "WHEELHOUSE_RUN";

/// Between two looks at a process that is no child of ours, or at a group: the kernel tells
/// nobody but the parent when those end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// From the final signal until a process is gone; only one stuck in the kernel takes longer.
pub const KILL_DEADLINE: Duration = Duration::from_secs(2);

/// When the kernel began a process, in ticks since the machine started; `None` when it is gone
/// or waits only to be reaped.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so fields are counted from the last one.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(START_TIME_AFTER_STATE)?.parse().ok()
}

/// Fields between the state and the start time in `/proc/PID/stat`.
const START_TIME_AFTER_STATE: usize = 18;

/// Whether this very process still runs.
pub fn is_alive(process: RecordedProcess) -> bool {
    start_ticks(process.pid) == Some(process.start_ticks)
}

/// Sends a signal to a whole group; a group that is gone needs none.
pub fn signal_group(leader: u32, signal: Signal) {
    let Some(group) = pid(leader) else { return };
    if let Err(error) = rustix::process::kill_process_group(group, signal)
        && error != rustix::io::Errno::SRCH
    {
        tracing::warn!(leader, ?signal, %error, "a process group took no signal");
    }
}

/// Sends a signal to one process alone; says whether it was there to take it.
pub fn signal_leader(leader: u32, signal: Signal) -> bool {
    pid(leader).is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}

/// Waits until nobody is left in a group, at most until `deadline`; says whether it is empty.
pub async fn group_ends(leader: u32, deadline: Instant) -> bool {
    let Some(group) = pid(leader) else {
        return true;
    };
    while rustix::process::test_kill_process_group(group).is_ok() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}

/// Ends what a dead host left: politely, and after `grace` for good. Touches only a process whose
/// id and start time are the recorded ones, its group, and processes that carry the run's
/// identity.
pub async fn end_leftover(process: Option<RecordedProcess>, run: Uuid, grace: Duration) {
    let leader = process.filter(|process| is_alive(*process));
    if let Some(leader) = leader {
        tracing::warn!(pid = leader.pid, "ending an instance the last host left");
        signal_group(leader.pid, Signal::TERM);
        ends(leader, Instant::now() + grace).await;
        signal_group(leader.pid, Signal::KILL);
        ends(leader, Instant::now() + KILL_DEADLINE).await;
    }
    for stray in carriers(run) {
        tracing::warn!(
            pid = stray,
            "ending a process of an instance the last host left"
        );
        if let Some(stray) = pid(stray)
            && let Err(error) = rustix::process::kill_process(stray, Signal::KILL)
        {
            tracing::warn!(%error, "it took no signal");
        }
    }
}

/// Waits until a process that is no child of ours has ended, at most until `deadline`.
async fn ends(process: RecordedProcess, deadline: Instant) {
    while is_alive(process) && Instant::now() < deadline {
        sleep(LOOK_EVERY).await;
    }
}

/// Processes that were given this run's identity when they began.
fn carriers(run: Uuid) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mark = format!("{RUN_VARIABLE}={run}");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|all| all.split(|b| *b == 0).any(|one| one == mark.as_bytes()))
        })
        .filter(|pid| start_ticks(*pid).is_some())
        .collect()
}

fn pid(raw: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(raw).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_id() {
        let me = std::process::id();
        let start_ticks = start_ticks(me).expect("this process runs");
        assert!(is_alive(RecordedProcess {
            pid: me,
            start_ticks
        }));
        let earlier = start_ticks - 1;
        assert!(!is_alive(RecordedProcess {
            pid: me,
            start_ticks: earlier
        }));
    }

    #[tokio::test]
    async fn a_leftover_with_another_start_time_is_left_alone() {
        let mut bystander = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep starts");
        let foreign = RecordedProcess {
            pid: bystander.id(),
            start_ticks: 1,
        };
        end_leftover(Some(foreign), Uuid::now_v7(), Duration::ZERO).await;
        assert!(bystander.try_wait().expect("readable").is_none());
        bystander.kill().expect("killed");
        bystander.wait().expect("reaped");
    }

    #[tokio::test]
    async fn a_process_that_was_never_recorded_is_found_by_its_run() {
        let run = Uuid::now_v7();
        let mut unrecorded = Command::new("sleep")
            .arg("60")
            .env(RUN_VARIABLE, run.to_string())
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep starts");
        // Just after it began, the kernel does not show its environment yet.
        let environment = format!("/proc/{}/environ", unrecorded.id());
        let mark = run.to_string();
        let shown = || {
            let all = std::fs::read(&environment).unwrap_or_default();
            String::from_utf8_lossy(&all).contains(&mark)
        };
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while !shown() && std::time::Instant::now() < until {
            tokio::task::yield_now().await;
        }
        end_leftover(None, run, Duration::ZERO).await;
        let status = unrecorded.wait().expect("reaped");
        assert!(!status.success());
    }
}

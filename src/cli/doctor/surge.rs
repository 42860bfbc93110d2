//! Memory for the surge: the new release's instances run beside the old ones, so there must be
//! room for them, by what the running ones were measured to take.

use super::finding::{Finding, Subject, size};
use crate::model::world::InstanceView;
use crate::model::{ServerName, ServiceSpec};
use std::collections::BTreeMap;

/// Spared for everything else on the machine.
const SPARE: f64 = 1.2;

pub(super) fn check(spec: &ServiceSpec, instances: &BTreeMap<ServerName, InstanceView>) -> Finding {
    let subject = Subject::new("memory", &format!("{} memory", spec.placement));
    let running = instances.values().filter(|view| view.exited.is_none());
    let largest = running.filter_map(|view| resident(view.pid)).max();
    let Some(largest) = largest else {
        return subject.ok("nothing runs yet that could be measured on this machine");
    };
    let Some(available) = available() else {
        return subject.note("what is available cannot be read here; look at it before a deploy");
    };
    judge(&subject, spec.canary_instances(), largest, available)
}

fn judge(subject: &Subject, count: u32, largest: u64, available: u64) -> Finding {
    let needed = largest.saturating_mul(u64::from(count));
    let text = format!(
        "{count} more instances of {} each need {}, {} are available",
        size(largest),
        size(needed),
        size(available)
    );
    match needed as f64 * SPARE > available as f64 {
        true => subject.bad(&format!("{text}; free some, or lower canary.instances")),
        false => subject.ok(&text),
    }
}

/// What a process and its group hold in memory, in bytes; `None` where that cannot be seen.
fn resident(leader: u32) -> Option<u64> {
    let processes = std::fs::read_dir("/proc").ok()?;
    let numbers = processes.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    let group = numbers.filter(|pid| *pid == leader || group_of(*pid) == Some(leader));
    let sizes: Vec<u64> = group.filter_map(resident_of).collect();
    (!sizes.is_empty()).then(|| sizes.iter().sum())
}

/// The fifth field of `stat`; the second may hold anything, but ends with the last parenthesis.
fn group_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(2)?.parse().ok()
}

fn resident_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kibibytes(&status, "VmRSS:")
}

/// What the kernel would give without swapping.
fn available() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    kibibytes(&meminfo, "MemAvailable:")
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::State;

    #[test]
    fn room_is_judged_by_what_an_instance_takes() {
        let subject = Subject::new("memory", "shop");
        let (gib, mib) = (1 << 30, 1 << 20);
        assert_eq!(judge(&subject, 3, 100 * mib, gib).state, State::Ok);
        assert_eq!(
            judge(&subject, 3, 300 * mib, gib).state,
            State::Bad,
            "nothing is spared"
        );
        assert_eq!(judge(&subject, 3, gib, gib).state, State::Bad);
    }

    #[test]
    fn a_process_and_its_group_are_measured() {
        let mine = resident(std::process::id()).expect("this process");
        assert!(mine > 1 << 20, "{mine}");
        assert!(available().is_some_and(|free| free > 0));
        assert_eq!(resident(u32::MAX), None);
    }
}

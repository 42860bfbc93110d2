//! Instances: how they begin, end, say why, and are kept.

use crate::contract::{self, eventually};
use crate::harness::*;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use wheelhouse::model::service::QuietSignal;
use wheelhouse::model::{Clean, Outcome};
use wheelhouse::ports::{Quiet, Runtime, Start, Stop};
use wheelhouse::runtime::host::HostRuntime;

/// The instance's lines so far, from the first that is kept.
async fn lines(runtime: &HostRuntime, start: &Start) -> Vec<String> {
    let mut all = Vec::new();
    let mut from = 0;
    loop {
        let page = runtime
            .logs(&start.placement, &start.server, from)
            .await
            .expect("readable");
        if page.lines.is_empty() {
            return all;
        }
        all.extend(page.lines.into_iter().map(Clean::into_string));
        from = page.next;
    }
}

#[tokio::test]
async fn the_host_keeps_the_runtimes_word() {
    let host = HostProcess::start().await;
    let talks = start(
        "web1",
        free_address(),
        &["sh", "-c", "echo hello; exec sleep 1000"],
    );
    let fails = start("web2", free_address(), &["sh", "-c", "exit 7"]);
    contract::runtime::keeps_its_word(&host.runtime(), talks, fails).await;
}

#[tokio::test]
async fn without_a_host_nothing_is_said_to_have_changed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = HostRuntime::new(&dir.path().join("host.sock")).expect("a client");
    let start = start("web1", free_address(), &["true"]);
    contract::runtime::knows_that_nobody_is_there(&runtime, start).await;
}

#[tokio::test]
async fn an_instance_gets_its_place_and_nothing_it_was_not_meant_to_have() {
    let host = HostProcess::start().await;
    let runtime = host.runtime();
    let address = free_address();
    let mut start = start(
        "web1",
        address,
        &["sh", "-c", "env; echo at {address} {port} {server}"],
    );
    start
        .workload
        .env
        .insert("PLACE".into(), "{server}:{port}".into());
    must_start(&runtime, start.clone()).await;
    eventually("it ended", || async {
        view(&runtime, "web1").await?.exited
    })
    .await;
    let lines = lines(&runtime, &start).await;
    let port = address.port();
    for expected in [
        format!("at {address} {port} web1"),
        format!("PLACE=web1:{port}"),
        format!("WHEELHOUSE_RELEASE={}", start.release),
        "WHEELHOUSE_SERVER=web1".to_owned(),
    ] {
        assert!(lines.contains(&expected), "{expected} in {lines:#?}");
    }
    let leaked = lines.iter().find(|line| line.starts_with("CARGO"));
    assert_eq!(leaked, None, "the host's environment is its own");
}

#[tokio::test]
async fn the_reason_of_an_end_is_kept() {
    let host = HostProcess::start().await;
    let runtime = host.runtime();
    for (server, command, reason) in [
        ("web1", &["sh", "-c", "exit 3"] as &[&str], "exit code 3"),
        ("web2", &["sh", "-c", "kill -9 $$"], "signal 9 (killed)"),
        (
            "web3",
            &["/does/not/exist"],
            "cannot start `/does/not/exist`",
        ),
    ] {
        must_start(&runtime, start(server, free_address(), command)).await;
        let why = eventually("it ended", || async {
            view(&runtime, server).await?.exited
        })
        .await;
        assert!(why.as_str().starts_with(reason), "{why}");
        assert_eq!(view(&runtime, server).await.expect("there").pid, 0);
    }
}

#[tokio::test]
async fn a_worker_is_told_once_and_not_started_again_when_it_is_done() {
    let host = HostProcess::start().await;
    let runtime = host.runtime();
    let script =
        "trap 'echo told; sleep 0.3; exit 0' USR1; echo ready; while :; do sleep 0.02; done";
    let mut start = start("web1", free_address(), &["sh", "-c", script]);
    start.keep_running = true;
    must_start(&runtime, start.clone()).await;
    eventually("it listens to signals", || async {
        let lines = lines(&runtime, &start).await;
        lines.contains(&"ready".to_owned()).then_some(())
    })
    .await;
    let quiet = Quiet {
        placement: placement(),
        server: start.server.clone(),
        signal: QuietSignal::Usr1,
    };
    for _ in 0..2 {
        let told = runtime.quiet(quiet.clone()).await;
        assert_eq!(told.outcome, Outcome::Applied);
        let view = view(&runtime, "web1").await.expect("there");
        assert!(view.quiet && !view.keep_running);
    }
    let why = eventually("it ended", || async {
        view(&runtime, "web1").await?.exited
    })
    .await;
    assert_eq!(why.as_str(), "exit code 0");
    let lines = lines(&runtime, &start).await;
    let told = lines.iter().filter(|line| *line == "told").count();
    assert_eq!(told, 1, "{lines:#?}");
    let nobody = Quiet {
        server: "web9".parse().expect("valid"),
        ..quiet
    };
    let told = runtime.quiet(nobody).await;
    assert!(matches!(told.outcome, Outcome::Rejected { .. }), "{told:?}");
}

#[tokio::test]
async fn one_that_is_kept_running_is_started_again_and_counted() {
    let host = HostProcess::start().await;
    let runtime = host.runtime();
    let mut start = start("web1", free_address(), &["sleep", "1000"]);
    start.keep_running = true;
    must_start(&runtime, start).await;
    let first = view(&runtime, "web1").await.expect("there");
    signal(first.pid, Signal::KILL);
    let second = eventually("it was started again", || async {
        view(&runtime, "web1")
            .await
            .filter(|view| view.pid != 0 && view.restarts == 1)
    })
    .await;
    assert_ne!(first.pid, second.pid);
    assert_eq!(second.exited, None);
}

#[tokio::test]
async fn a_stop_leaves_nobody_of_the_group_behind() {
    let host = HostProcess::start().await;
    let runtime = host.runtime();
    // The child ignores the polite signal, and the leader goes at once.
    let script = "(trap '' TERM; echo child $(exec sh -c 'echo $PPID'); while :; do sleep 1; done) & \
                  trap 'exit 0' TERM; wait";
    let start = start("web1", free_address(), &["sh", "-c", script]);
    must_start(&runtime, start.clone()).await;
    let child: u32 = eventually("the child says who it is", || async {
        lines(&runtime, &start)
            .await
            .iter()
            .find_map(|line| line.strip_prefix("child ")?.parse().ok())
    })
    .await;
    assert!(is_alive(child));
    let began = Instant::now();
    let stopped = runtime
        .stop(Stop::of(&start.placement, &start.server, 300))
        .await;
    assert_eq!(stopped.outcome, Outcome::Applied);
    assert!(!is_alive(child), "killed once the grace is over");
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "the grace is the group's"
    );
}

#[tokio::test]
async fn a_child_of_one_that_crashed_is_gone_before_the_next_start() {
    let host = HostProcess::start().await;
    let runtime = host.runtime();
    let start = start(
        "web1",
        free_address(),
        &["sh", "-c", "sleep 1000 & echo child $!; exit 1"],
    );
    must_start(&runtime, start.clone()).await;
    eventually("it ended", || async {
        view(&runtime, "web1").await?.exited
    })
    .await;
    let lines = lines(&runtime, &start).await;
    let child: u32 = lines
        .iter()
        .find_map(|line| line.strip_prefix("child ")?.parse().ok())
        .expect("it said who its child is");
    eventually("the child is gone", || async {
        (!is_alive(child)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_output_costs_bounded_memory_and_disk() {
    let host = HostProcess::start().await;
    let runtime = host.runtime();
    let flood =
        "yes \"$(head -c 200 /dev/zero | tr '\\0' x)\" | head -c 60000000; echo; echo the end";
    let start = start("web1", free_address(), &["sh", "-c", flood]);
    must_start(&runtime, start.clone()).await;
    let last = eventually("the flood ended", || async {
        view(&runtime, "web1").await?.exited?;
        let lines = lines(&runtime, &start).await;
        lines.iter().rev().nth(1).cloned()
    })
    .await;
    assert_eq!(last, "the end");
    let page = runtime
        .logs(&start.placement, &start.server, 0)
        .await
        .expect("readable");
    // 201 bytes each, the last of them cut, the end, and the host's own two lines about its
    // beginning and its end.
    let written = 60_000_000_u64.div_ceil(201) + 1 + 2;
    let kept = lines(&runtime, &start).await.len() as u64;
    assert_eq!(page.skipped + kept, written, "no line is dropped unsaid");
    let resident_kib = memory_kib(host.pid(), "VmHWM");
    assert!(resident_kib < 100 * 1024, "{resident_kib} KiB");
    let dir = host.state_dir().join("logs").join("shop@test");
    let disk: u64 = std::fs::read_dir(dir)
        .expect("readable")
        .map(|entry| entry.expect("entry").metadata().expect("metadata").len())
        .sum();
    assert!(disk <= 18 * 1024 * 1024, "{disk} bytes");
}

pub fn memory_kib(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("readable");
    let line = status
        .lines()
        .find(|line| line.starts_with(what))
        .expect("known");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

//! The demo keeps its promises, and leaves nothing behind however it ends.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts the unattended demo in a process group of its own, as a shell does, with every file
/// below `dir`.
fn unattended(dir: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_wheelhouse"))
        .args(["demo", "--unattended"])
        .env("TMPDIR", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the demo starts")
}

fn assert_nothing_left(dir: &Path) {
    let left: Vec<_> = dir.read_dir().expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
    let name = dir.display().to_string();
    for entry in Path::new("/proc").read_dir().expect("readable").flatten() {
        // A process that ends while we look has no command line any more.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        assert!(!line.contains(&name), "still there: {line}");
    }
}

#[test]
fn the_story_is_told_and_every_promise_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let ended = unattended(dir.path()).wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&ended.stdout);
    let complaints = String::from_utf8_lossy(&ended.stderr);
    println!("{told}\n{complaints}");
    assert_eq!(ended.status.code(), Some(0));
    assert!(told.contains("[ok] v3 was taken back without a person"));
    assert!(told.contains(" sent, 0 lost"));
    assert_nothing_left(dir.path());
}

#[test]
fn ctrl_c_ends_everything_wherever_the_story_is() {
    for moment in [
        "host and engine run",
        "v2: a canary",
        "one answer in twenty",
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut demo = unattended(dir.path());
        let lines = BufReader::new(demo.stdout.take().expect("piped")).lines();
        let mut told = Vec::new();
        for line in lines {
            told.push(line.expect("text"));
            if told.last().is_some_and(|line| line.contains(moment)) {
                break;
            }
        }
        let reached = told.last().is_some_and(|line| line.contains(moment));
        if !reached {
            let ended = demo.wait_with_output().expect("it ends");
            let complaints = String::from_utf8_lossy(&ended.stderr);
            panic!("the story never came to {moment:?}: {told:#?}\n{complaints}");
        }
        let group = Pid::from_child(&demo);
        kill_process_group(group, Signal::INT).expect("it is there");
        let ended = demo.wait_with_output().expect("it ends");
        assert_eq!(ended.status.code(), Some(2), "at {moment:?}");
        assert_nothing_left(dir.path());
    }
}

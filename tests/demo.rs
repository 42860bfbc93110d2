//! The demo keeps its promises, and leaves nothing behind however it ends.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts the unattended demo in a process group of its own, as a shell does, with every file
/// below `dir`.
fn unattended(dir: &Path, arguments: &[&str]) -> Child {
    command(dir, arguments).spawn().expect("the demo starts")
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheelhouse"));
    command
        .args(["demo", "--unattended"])
        .args(arguments)
        .env("TMPDIR", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

/// Reads what the demo tells up to the first line with these words, and interrupts it there.
/// Gives back what was told.
fn interrupted_at(mut demo: Child, moment: &str) -> Vec<String> {
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
    told
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

/// Tells what the arguments ask for, to its end; every promise must hold.
fn told(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = unattended(dir.path(), arguments);
    let ended = demo.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&ended.stderr);
    println!("{told}\n{complaints}");
    assert_eq!(ended.status.code(), Some(0));
    assert!(!told.contains("[!!]"));
    assert_nothing_left(dir.path());
    told
}

/// The numbers of the only line with these words around them, in their order.
fn numbers(told: &str, words: &[&str]) -> Vec<u64> {
    let fits = |line: &&str| words.iter().all(|word| line.contains(word));
    let mut lines = told.lines().filter(fits);
    let line = lines.next().unwrap_or_else(|| panic!("no line {words:?}"));
    assert_eq!(lines.next(), None, "{words:?}");
    let (_, text) = line.split_once("  ").expect("its time");
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[test]
fn the_story_is_told_and_every_promise_holds() {
    let told = told(&[]);
    assert!(told.contains("[ok] v3 was taken back without a person"));
    let sent = " requests sent, 0 lost";
    assert_eq!(told.matches(sent).count(), 3, "one count a chapter");
    let chapters: Vec<_> = told.split("  chapter ").skip(1).collect();
    assert_eq!(chapters.len(), 3);
    let second = chapters[1];
    assert!(second.starts_with("2: ") && !second.contains("canary"));
}

#[test]
fn the_second_chapter_is_told_alone_and_its_numbers_are_measured() {
    let told = told(&["--chapter", "2"]);
    assert!(!told.contains("chapter 1"));
    let [sent, lost] = numbers(&told, &["[ok]", "requests sent"])[..] else {
        panic!("a count");
    };
    assert_eq!(lost, 0);
    // v2 waited for its switch while the load was on, and got none of it.
    let waited = numbers(&told, &["waits for a person", "requests went there"]);
    let [_, early, before] = waited[..] else {
        panic!("{waited:?}");
    };
    assert_eq!(early, 0);
    assert!(0 < before && before < sent, "{before} of {sent}");
    let restarted = numbers(&told, &["[ok]", "the restart began"]);
    assert_eq!(restarted, [3, 3]);
    let served = numbers(&told, &["every instance was begun anew", "served"]);
    assert!(matches!(served[..], [_, 2 | 3, 3]), "{served:?}");
}

#[test]
fn the_third_chapter_is_told_alone_and_its_numbers_are_measured() {
    let told = told(&["--chapter", "3"]);
    assert!(!told.contains("chapter 1") && !told.contains("chapter 2"));
    let [sent, lost] = numbers(&told, &["[ok]", "requests sent"])[..] else {
        panic!("a count");
    };
    assert_eq!(lost, 0);
    let tests = numbers(&told, &["lint passed in", "at the same time"]);
    let [lint_ms, test_ms, both_ms] = tests[..] else {
        panic!("{tests:?}");
    };
    // They overlapped, and not for longer than the shorter one took.
    assert!(0 < both_ms && both_ms <= lint_ms.min(test_ms), "{tests:?}");
    let [run, passed, stages, side_by_side_ms] = numbers(&told, &["[ok]", "stages"])[..] else {
        panic!("a count of stages");
    };
    assert_eq!([run, passed, stages, side_by_side_ms], [1, 4, 4, both_ms]);
    // The fixed commit waited for a person while the load was on, and got none of it.
    let waited = numbers(&told, &["production waits for a person"]);
    assert!(waited[0] == 0 && 0 < waited[1] && waited[1] < sent);
    // The broken one failed where its own test says so, and never met a request.
    assert!(told.contains("p2 failed: test: exit code 1: FAILED: a cart of 2 3 5 costs 10, not 5"));
    let since = numbers(&told, &["requests since then met"]);
    assert!(since[0] == 0 && 0 < since[1], "{since:?}");
    assert!(told.contains("[ok] p2 never reached production: 0 requests met "));
}

/// The demo where no program can be found but this one.
fn without_git(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = command(dir, arguments);
    command.env("PATH", "/nonexistent");
    command
}

#[test]
fn without_git_the_third_chapter_is_left_out_or_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = without_git(dir.path(), &[]).spawn().expect("it starts");
    let told = interrupted_at(demo, "host and engine run");
    assert_eq!(told[0], "git is not installed: chapter 3 is left out");
    let asked = without_git(dir.path(), &["--chapter", "3"]).output();
    let ended = asked.expect("it ends");
    assert_eq!(ended.status.code(), Some(64));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("install git"), "{said}");
    assert_nothing_left(dir.path());
}

#[test]
fn ctrl_c_ends_everything_wherever_the_story_is() {
    for (chapter, moment) in [
        ("1", "host and engine run"),
        ("1", "v2: a canary"),
        ("1", "one answer in twenty"),
        ("2", "waits for a person"),
        ("2", "begins anew"),
        ("3", "lint and test begin"),
        ("3", "waits for a person"),
        ("3", "is a canary beside v1"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let demo = unattended(dir.path(), &["--chapter", chapter]);
        interrupted_at(demo, moment);
        assert_nothing_left(dir.path());
    }
}

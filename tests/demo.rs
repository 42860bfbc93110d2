//! The demo keeps its promises, and leaves nothing behind however it ends.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts the unattended demo in a process group of its own, as a shell does, with every file
/// below `dir`.
fn unattended(dir: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_wheelhouse"))
        .args(["demo", "--unattended"])
        .args(arguments)
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
    assert_eq!(told.matches(sent).count(), 2, "one count a chapter");
    let second = told.split("chapter 2: ").nth(1).expect("chapter 2");
    assert!(!second.contains("canary"));
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
fn ctrl_c_ends_everything_wherever_the_story_is() {
    for (chapter, moment) in [
        ("1", "host and engine run"),
        ("1", "v2: a canary"),
        ("1", "one answer in twenty"),
        ("2", "waits for a person"),
        ("2", "begins anew"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut demo = unattended(dir.path(), &["--chapter", chapter]);
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

//! The personal engine: who may run one, where, and how it ends.

use crate::support::*;
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

#[test]
fn it_runs_says_what_it_is_and_stops() {
    let place = Place::with(&shop(free_ports(5)));
    let mut engine = place.engine();
    let said = place.run(&["engine", "status"]).must(0);
    let pid = engine.0.id();
    assert!(said.out.contains(&format!("pid {pid} ")), "{said:?}");
    let told = place.run(&["engine", "status", "--json"]).must(0).json();
    assert_eq!(told["info"]["pid"], pid);
    let said = place.run(&["engine", "stop"]).must(0);
    assert!(said.err.is_empty(), "{said:?}");
    assert!(engine.ends().success());
    assert!(!place.state().join("engine.sock").exists());
    place.run(&["engine", "status"]).must(69);
    // What was recorded is still there to be read, and another one may begin.
    place.run(&["history", "verify"]).must(0);
    let said = place.run(&["status", "--json"]).must(69);
    assert_eq!(said.json()["deployments"], serde_json::json!([]));
    let mut engine = place.engine();
    engine.signal(Signal::TERM);
    assert!(engine.ends().success());
}

#[test]
fn a_second_one_on_the_same_state_directory_is_refused_with_who_and_since_when() {
    let place = Place::with(&shop(free_ports(5)));
    let mut first = place.engine();
    let said = place.run(&["engine", "run"]).must(73);
    for word in [
        &format!("pid {}", first.0.id()) as &str,
        "user ",
        "since 20",
        "stop that one first",
    ] {
        assert!(said.err.contains(word), "{word} in {said:?}");
    }
    place.run(&["engine", "status"]).must(0);
    // The kernel lets go of it with the process, whatever its end.
    first.signal(Signal::KILL);
    assert_eq!(first.ends().signal(), Some(9));
    let _second = place.engine();
}

#[test]
fn its_files_are_its_owners_alone_whatever_the_umask() {
    let place = Place::with(&shop(free_ports(5)));
    let spawned = Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" engine run --config \"$1\""])
        .arg(PROGRAM)
        .arg(place.config())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _engine = Background(spawned.expect("it starts"));
    place.has_engine();
    let state = place.state();
    assert_eq!(mode(&state), 0o700);
    let mut seen = Vec::new();
    for entry in state.read_dir().expect("readable") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen.push(path);
    }
    for name in ["history.db", "engine.sock"] {
        assert!(seen.contains(&state.join(name)), "{name} in {seen:?}");
    }
}

#[test]
fn a_state_directory_that_is_a_link_is_refused() {
    let place = Place::with(&shop(free_ports(5)));
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    std::os::unix::fs::symlink(elsewhere.path(), place.state()).expect("linked");
    let said = place.run(&["engine", "run"]);
    assert!(said.code != 0 && said.err.contains("state"), "{said:?}");
    let left = elsewhere.path().read_dir().expect("readable").count();
    assert_eq!(left, 0, "nothing was written through the link");
}

#[test]
fn one_with_another_configuration_is_said_and_still_answers() {
    let place = Place::with(&shop(free_ports(5)));
    let _engine = place.engine();
    place
        .run(&["status"])
        .must(0)
        .err
        .is_empty()
        .then_some(())
        .expect("the same one");
    let text = std::fs::read_to_string(place.config()).expect("readable");
    let changed = text.replace("min_requests = 60", "min_requests = 61");
    std::fs::write(place.config(), changed).expect("written");
    let said = place.run(&["status"]).must(0);
    assert!(said.err.contains("another configuration"), "{said:?}");
}

#[test]
fn the_deaf_the_gone_and_the_many_do_not_keep_an_abort_out() {
    use wheelhouse::link::{Client, ClientOptions};
    let place = Place::with(&shop(free_ports(5)));
    let _engine = place.engine();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let socket = place.state().join("engine.sock");
    let options = ClientOptions {
        version: "1".to_owned(),
        config_hash: None,
        console: true,
    };
    let consoles: Vec<_> = (0..64)
        .map(|_| {
            let connected = runtime.block_on(Client::connect(&socket, &options));
            connected.expect("connected").0
        })
        .collect();
    let said = place.run(&["engine", "stop"]).must(69);
    assert!(said.err.contains("too many consoles"), "{said:?}");
    for verb in ["abort", "hold"] {
        let said = place.run(&[verb, "shop", "-e", "prod"]).must(3);
        assert!(said.err.contains("no open rollout"), "{said:?}");
    }
    drop(consoles);
}

#[test]
fn watch_ends_when_the_engine_does_and_says_why() {
    let place = Place::with(&shop(free_ports(5)));
    let mut engine = place.engine();
    // Something to be told as soon as it is connected.
    place.run(&["note", "shop", "-e", "prod", "here"]).must(0);
    let mut command = place.command(&["watch"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watching = command.spawn().expect("it starts");
    let mut lines = BufReader::new(watching.stdout.take().expect("piped"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("readable");
    assert!(!first.is_empty(), "it ended before it told anything");
    engine.signal(Signal::TERM);
    assert!(engine.ends().success());
    let output = watching.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        said.contains("the engine ends; rollouts stay as they are"),
        "{said}"
    );
}

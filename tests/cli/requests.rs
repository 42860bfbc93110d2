//! Deploys as pipelines ask for them: with a request id, and waiting for the end.

use crate::support::*;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shop whose engine is the test's to kill.
struct Shop {
    place: Place,
    engine: Background,
    _host: Background,
    _load: Load,
}

impl Shop {
    fn open() -> Self {
        let listen = free_ports(5);
        let place = Place::with(&shop(listen));
        let host = place.spawn(&["host"]);
        let engine = place.engine();
        eventually("the doctor is content", || {
            (place.run(&["doctor"]).code == 0).then_some(())
        });
        let shop = Self {
            place,
            engine,
            _host: host,
            _load: Load::on(listen),
        };
        shop.deploy(&["v1", "--wait", "--timeout", "60s"]).must(0);
        shop
    }

    fn args<'a>(rest: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["deploy", "shop"];
        args.extend(rest);
        args.extend(["-e", "prod", "--confirm", "prod"]);
        args
    }

    fn deploy(&self, rest: &[&str]) -> Said {
        self.place.run(&Self::args(rest))
    }

    /// Leaves the deploy running.
    fn deploys(&self, rest: &[&str]) -> Child {
        let mut command = self.place.command(&Self::args(rest));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    }

    fn kill_engine(&mut self) {
        self.engine.signal(Signal::KILL);
        self.engine.ends();
    }

    fn restart(&mut self) {
        self.kill_engine();
        self.engine = self.place.engine();
    }

    fn deployments(&self) -> usize {
        let rows = self.place.run(&["history", "--json"]).must(0).json();
        rows.as_array().expect("a list").len()
    }

    /// Waits until so many deployments are recorded.
    fn begins(&self, count: usize) {
        eventually("the rollout is recorded", || {
            (self.deployments() == count).then_some(())
        });
    }
}

fn end_of(child: Child) -> Said {
    let output = child.wait_with_output().expect("it ends");
    Said {
        code: output.status.code().expect("it ended by itself"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn the_same_request_begins_once_through_races_ends_and_restarts() {
    let mut shop = Shop::open();
    let asked = ["v2", "--request-id", "run/17", "--json"];
    let jobs: Vec<_> = (0..4).map(|_| shop.deploys(&asked)).collect();
    let mut answers: Vec<_> = jobs
        .into_iter()
        .map(|job| end_of(job).must(0).json())
        .collect();
    answers.sort_by_key(|told| told["answer"].to_string());
    let words: Vec<_> = answers.iter().map(|told| told["answer"].clone()).collect();
    assert_eq!(words, ["accepted", "begun", "begun", "begun"]);
    assert!(
        answers.iter().all(|told| told["number"] == 2),
        "{answers:?}"
    );

    shop.restart();
    let waited = shop.deploy(&["v2", "--request-id", "run/17", "--wait", "--timeout", "60"]);
    let waited = waited.must(0);
    assert!(waited.out.contains("v2 succeeded"), "{waited:?}");
    shop.restart();
    let said = shop.deploy(&asked).must(0).json();
    assert_eq!(
        (&said["answer"], &said["number"]),
        (&"begun".into(), &2.into())
    );
    assert_eq!(shop.deployments(), 2);

    let other = shop.deploy(&["v3", "--request-id", "run/17"]).must(3);
    assert!(other.err.contains("run/17 began #2"), "{other:?}");
    assert_eq!(shop.deployments(), 2);
    // Its end is its exit code, whoever asks.
    let bad = ["shop@bad", "--request-id", "run/18", "--wait"];
    let mut args = vec!["deploy"];
    args.extend(bad);
    args.extend(["-e", "prod", "--confirm", "prod"]);
    for _ in 0..2 {
        shop.place.run(&args).must(1);
    }
    assert_eq!(shop.deployments(), 3);
}

#[test]
fn a_wait_survives_the_engine_and_a_rollout_the_one_who_waits() {
    let mut shop = Shop::open();
    let waiting = shop.deploys(&["v2", "--wait", "--timeout", "1m", "--request-id", "a"]);
    shop.begins(2);
    shop.kill_engine();
    // Nobody else waits for it: this one finds it gone at once.
    shop.place.run(&["wait", "2"]).must(69);
    shop.engine = shop.place.engine();
    let said = end_of(waiting).must(0);
    assert!(said.err.contains("looking for the engine"), "{said:?}");
    assert!(said.out.contains("v2 succeeded"), "{said:?}");

    let mut waiting = shop.deploys(&["v3", "--wait"]);
    shop.begins(3);
    waiting.kill().expect("killed");
    waiting.wait().expect("ended");
    let said = shop.place.run(&["wait", "3", "--timeout", "1m"]).must(0);
    assert!(said.out.contains("v3 succeeded"), "{said:?}");
}

#[test]
fn waiting_ends_in_time_and_leaves_the_rollout() {
    let shop = Shop::open();
    let said = shop.deploy(&["v2", "--wait", "--timeout", "200ms"]).must(2);
    assert!(said.err.contains("it goes on"), "{said:?}");
    shop.place.run(&["wait", "#2", "--timeout", "60"]).must(0);
    for wrong in [
        vec!["deploy", "shop", "-e", "prod"],
        vec!["deploy", "shop@v2", "v2", "-e", "prod"],
        vec!["deploy", "shop@", "-e", "prod"],
        vec!["deploy", "shop@v2", "-e", "prod", "--timeout", "5m"],
        vec!["deploy", "shop@v2", "-e", "prod", "--request-id", "a b"],
        vec!["wait", "2", "--timeout", "soon"],
    ] {
        shop.place.run(&wrong).must(64);
    }
    assert_eq!(shop.deployments(), 2);
}

/// Stands where the engine's socket was: passes everything on, but hangs up on the first caller
/// whose deploy reached the engine, before the answer gets back.
fn relay_that_loses_an_answer(place: &Place) {
    let (door, behind) = (
        place.state().join("engine.sock"),
        place.state().join("behind"),
    );
    std::fs::rename(&door, &behind).expect("renamed");
    let listener = UnixListener::bind(&door).expect("bound");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&door, private).expect("its mode");
    let lost = Arc::new(AtomicBool::new(false));
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let (caller, lost) = (caller.expect("a caller"), Arc::clone(&lost));
            let engine = UnixStream::connect(&behind).expect("the engine");
            std::thread::spawn(move || pass_on(&caller, &engine, &lost));
        }
    });
}

fn pass_on(caller: &UnixStream, engine: &UnixStream, lost: &AtomicBool) {
    let (mut answers, mut back) = (
        engine.try_clone().expect("cloned"),
        caller.try_clone().expect("cloned"),
    );
    std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
    let (mut from, mut to, mut bytes) = (caller, engine, [0; 65_536]);
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let asks = String::from_utf8_lossy(&bytes[..read]).contains("\"request\":\"command\"");
        let loses = asks && !lost.swap(true, Ordering::SeqCst);
        if loses {
            let _ = caller.shutdown(Shutdown::Both);
        }
        if to.write_all(&bytes[..read]).is_err() || loses {
            break;
        }
    }
}

#[test]
fn an_answer_lost_on_the_way_is_asked_for_again_by_its_id() {
    let shop = Shop::open();
    relay_that_loses_an_answer(&shop.place);
    let said = shop.deploy(&["v2", "--request-id", "b", "--wait", "--timeout", "1m"]);
    let said = said.must(0);
    assert!(said.err.contains("asking again by its id"), "{said:?}");
    assert!(
        said.out.contains("#2 was begun by this request"),
        "{said:?}"
    );
    assert!(said.out.contains("v2 succeeded"), "{said:?}");
    assert_eq!(shop.deployments(), 2);
}

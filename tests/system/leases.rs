//! Two engines and one balancer (J9, FAULT 8): real processes, a real proxy, real traffic.

use crate::support::{Background, Load, Place, eventually, free_ports, shop};
use rustix::process::Signal;
use serde_json::Value;

const STEER: [&str; 5] = ["shop", "v9", "-e", "prod", "--confirm"];

/// Engine A with a host of its own, and a place for engine B that names the same host.
struct Pair {
    a: Place,
    b: Place,
    engine: Background,
    _host: Background,
    _load: Load,
}

impl Pair {
    fn open() -> Self {
        let listen = free_ports(5);
        let a = Place::with(&shop(listen));
        let host = a.spawn(&["host"]);
        let engine = a.engine();
        eventually("the doctor is content", || {
            (a.run(&["doctor"]).code == 0).then_some(())
        });
        let socket = a.state().join("host.sock");
        let shared = format!(
            "{}\n[runtime.host]\nkind = \"host\"\nsocket = {socket:?}\n\
             [balancer.host]\nkind = \"host\"\nsocket = {socket:?}\n",
            shop(listen)
        );
        Self {
            a,
            b: Place::with(&shared),
            engine,
            _host: host,
            _load: Load::on(listen),
        }
    }

    fn deploy(&self, version: &str) -> String {
        let args = [
            "deploy",
            "shop",
            version,
            "-e",
            "prod",
            "--confirm",
            "prod",
            "--json",
        ];
        let told = self.a.run(&args).must(0).json();
        format!("#{}", told["number"])
    }
}

fn status(place: &Place) -> Value {
    let said = place.run(&["status", "--json"]);
    assert!([0, 2].contains(&said.code), "{said:?}");
    said.json()
}

/// The first words of why a place only looks; `None` while it steers.
fn read_only(place: &Place) -> Option<String> {
    let why = &status(place)["engine"]["read_only"][0]["why"];
    why.as_str().map(str::to_owned)
}

/// The new release's share by the balancer's weights.
fn applied(place: &Place) -> Value {
    status(place)["placements"][0]["traffic"]["applied_percent"].clone()
}

#[test]
fn a_second_engine_only_looks_says_who_steers_and_steers_once_the_first_is_gone() {
    let mut pair = Pair::open();
    pair.a.run(&["note", "shop", "-e", "prod", "mine"]).must(0);
    let _b = pair.b.engine();
    let why = eventually("it sees who steers", || read_only(&pair.b));
    let pid = format!("(pid {})", pair.engine.0.id());
    for word in [
        "balancer host",
        "the engine of",
        &pid,
        "since 20",
        "engine takeover host",
    ] {
        assert!(why.contains(word), "{word} in {why}");
    }
    let refused = pair
        .b
        .run(&[&["deploy"], &STEER[..], &["prod"]].concat())
        .must(3);
    assert!(
        refused.err.contains(&pid) || refused.out.contains(&pid),
        "{refused:?}"
    );
    let refused = pair.b.run(&["abort", "shop", "-e", "prod"]).must(3);
    assert!(refused.err.contains("act there"), "{refused:?}");
    let doctor = pair.b.run(&["doctor"]);
    assert!(doctor.code != 0 && doctor.out.contains(&pid), "{doctor:?}");
    // The one that steers is not held up by the one that looks.
    assert_eq!(read_only(&pair.a), None);
    let said = pair.a.run(&["abort", "shop", "-e", "prod"]).must(3);
    assert!(said.err.contains("no open rollout"), "{said:?}");
    // Killed, it leaves its marker; the kernel's lock went with it.
    pair.engine.signal(Signal::KILL);
    pair.engine.ends();
    eventually("the second one steers", || {
        read_only(&pair.b).is_none().then_some(())
    });
    let said = pair.b.run(&["engine", "stop"]);
    assert_eq!(said.code, 0, "{said:?}");
    let marker = pair.a.state().join("host.sock.wheelhouse");
    eventually("it gives the marker back", || {
        (!marker.exists()).then_some(())
    });
}

#[test]
fn fault_008_a_frozen_engine_whose_balancer_was_taken_over_does_nothing_when_it_wakes() {
    let mut pair = Pair::open();
    let first = pair.deploy("v1");
    pair.a.run(&["wait", &first, "--timeout", "60"]).must(0);
    pair.deploy("v2");
    eventually("the canary has its first share", || {
        (applied(&pair.a).as_f64() == Some(20.0)).then_some(())
    });
    pair.engine.signal(Signal::STOP);
    let b = pair.b.engine();
    eventually("the second one sees who steers", || read_only(&pair.b));
    let reason = ["--reason", "that one hangs"];
    let takes = [&["engine", "takeover", "host"], &reason[..]].concat();
    let said = pair.b.run(&takes).must(0);
    assert!(
        said.out.contains("taken over from the engine of"),
        "{said:?}"
    );
    eventually("it shows that it steers", || {
        read_only(&pair.b).is_none().then_some(())
    });
    let said = pair.b.run(&takes).must(3);
    assert!(said.err.contains("holds host already"), "{said:?}");
    let export = pair.b.run(&["history", "export"]).must(0).out;
    let record = export.lines().find(|line| line.contains("lease_taken"));
    let record = record.expect("recorded");
    assert!(record.contains("that one hangs"), "{record}");

    pair.engine.signal(Signal::CONT);
    let why = eventually("the first one finds out", || read_only(&pair.a));
    assert!(why.contains("took it over"), "{why}");
    let refused = pair.a.run(&[
        "promote",
        "shop",
        "-e",
        "prod",
        "--full",
        "--confirm",
        "prod",
    ]);
    let refused = refused.must(3);
    assert!(refused.err.contains("took it over"), "{refused:?}");
    // Its own clock goes on, and with it its wish for the next step; nothing comes of that.
    eventually("it wishes for the next step", || {
        let export = pair.a.run(&["history", "export"]).must(0).out;
        let wishes = |line: &&str| line.contains("weight_intended") && line.contains("\"step\":2");
        export.lines().find(wishes).map(|_| ())
    });
    assert_eq!(applied(&pair.a).as_f64(), Some(20.0), "it wrote");
    // A person may give it back, and then it goes on from there.
    drop(b);
    let takes = ["engine", "takeover", "host", "--reason", "it is well again"];
    pair.a.run(&takes).must(0);
    eventually("it steers again", || {
        (applied(&pair.a).as_f64() != Some(20.0)).then_some(())
    });
    pair.engine.signal(Signal::TERM);
    assert!(pair.engine.ends().success());
}

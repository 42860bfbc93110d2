//! Smoke tests of every kind against a real service, and what is told of them.

use crate::support::*;
use serde_json::Value;

/// The shop with a test of every kind; `order` fails once a file is there, `cache` always.
fn tested(listen: u16) -> String {
    shop(listen)
        + r#"
[[service.shop.smoke]]
name = "front"
path = "/readyz"
timeout = "1m"

[[service.shop.smoke]]
name = "accepts"
kind = "tcp"
timeout = "1m"

[[service.shop.smoke]]
name = "order"
kind = "command"
command = ["./order", "{server}"]
timeout = "1m"

[[service.shop.smoke]]
name = "cache"
critical = false
path = "/readyz"
status = 418
timeout = "1m"
attempts = 2
retry_interval = "10ms"
"#
}

fn program(place: &Place) {
    use std::os::unix::fs::PermissionsExt;
    let path = place.dir.path().join("order");
    let text = "#!/bin/sh\ntest -n \"$1\" || exit 9\ncd \"$(dirname \"$0\")\" || exit 8\n\
                if test -e closed; then echo the till is closed >&2; exit 1; fi\n";
    std::fs::write(&path, text).expect("written");
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, all).expect("executable");
}

fn deploy(place: &Place, version: &str) -> String {
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
    format!("#{}", place.run(&args).must(0).json()["number"])
}

fn results(place: &Place, number: &str) -> Vec<Value> {
    let told = place
        .run(&["history", "show", number, "--json"])
        .must(0)
        .json();
    let records = told["records"].as_array().expect("records").clone();
    let reports = records.iter().filter_map(|record| {
        let found = record.to_string().contains("smoke_finished");
        found.then(|| find(record, "results")).flatten()
    });
    let reports: Vec<_> = reports.collect();
    assert_eq!(reports.len(), 1, "one smoke run in {records:?}");
    reports[0].as_array().expect("results").clone()
}

/// The value of a key, however deep it is.
fn find(value: &Value, key: &str) -> Option<Value> {
    let members = value.as_object()?;
    let own = members.get(key).cloned();
    own.or_else(|| members.values().find_map(|value| find(value, key)))
}

#[test]
fn every_kind_is_made_recorded_and_told_and_only_a_critical_one_ends_a_rollout() {
    let listen = free_ports(5);
    let place = Place::with(&tested(listen));
    program(&place);
    let place = place.with_everything();
    let _load = Load::on(listen);

    let good = deploy(&place, "v1");
    place.run(&["wait", &good, "--timeout", "120"]).must(0);
    let results = results(&place, &good);
    assert_eq!(results.len(), 8, "four tests on two instances");
    let of = |name: &'static str| results.iter().filter(move |it| it["test"] == name);
    for result in of("front").chain(of("accepts")).chain(of("order")) {
        assert_eq!(result["trouble"], Value::Null, "{result}");
    }
    for result in of("cache") {
        assert_eq!(
            (&result["critical"], &result["attempts"]),
            (&false.into(), &2.into())
        );
        assert_eq!(result["status"], 200);
    }
    let said = place.run(&["history", "show", &good]).must(0).out;
    for words in [
        "warning: cache fails on s",
        "; 6/8 ok (",
        ", 2 attempts: status 200, not 418",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert!(said.contains("front on s1 ok, status 200, "), "{said}");

    std::fs::write(place.dir.path().join("closed"), "").expect("written");
    let bad = deploy(&place, "v2");
    let said = place.run(&["wait", &bad, "--timeout", "120"]).must(1);
    assert!(
        said.out.contains("smoke test order failed on s"),
        "{said:?}"
    );
    let said = place.run(&["history", "show", &bad]).must(0).out;
    assert!(
        said.contains("exit status: 1: the till is closed"),
        "{said}"
    );
}

//! FAULTS 29 and 30: a configuration that changes under a running engine.

use crate::machine::Machine;
use crate::support::eventually;
use rustix::process::Signal;

#[test]
fn a_reload_says_what_changed_records_it_and_holds() {
    let machine = Machine::with("");
    let _engine = machine.engine();
    let said = machine.run(&["engine", "reload"]).must(0);
    assert_eq!(said.out.trim(), "nothing changed");
    let before = machine.configured();
    let text = before
        .replace("min_requests = 60", "min_requests = 61")
        .replace(
            "[service.shop]\n",
            "[service.shop]\nvariables = { API_TOKEN = \"hunter2\" }\n",
        );
    machine.configure(&text);
    let dry = machine.run(&["engine", "reload", "--dry-run"]).must(0);
    assert!(
        dry.out.contains("canary.min_requests: 60 \u{2192} 61"),
        "{dry:?}"
    );
    assert!(dry.out.contains("not reloaded"), "{dry:?}");
    let warned = machine.run(&["status"]).must(0);
    assert!(
        warned.err.contains("another configuration"),
        "still the old one: {warned:?}"
    );
    let said = machine.run(&["engine", "reload", "--json"]).must(0).json();
    assert_eq!(said["applied"], true);
    let changes = said["changes"].to_string();
    assert!(
        changes.contains("service.shop.variables.API_TOKEN: unset"),
        "{changes}"
    );
    // The engine has it now, says so to everybody, and told the history without the secret.
    let same = machine.run(&["status"]).must(0);
    assert!(same.err.is_empty(), "{same:?}");
    let export = machine.run(&["history", "export"]).must(0).out;
    let record = export.lines().find(|line| line.contains("config_reloaded"));
    let record = record.expect("recorded");
    assert!(record.contains("canary.min_requests: 60"), "{record}");
    assert!(
        record.contains(said["hash"].as_str().expect("a hash")),
        "{record}"
    );
    assert!(
        !export.contains("hunter2") && !changes.contains("hunter2"),
        "{export}"
    );
    machine.run(&["history", "verify"]).must(0);
}

#[test]
fn bad_files_change_nothing_and_every_fault_is_said() {
    let machine = Machine::with("");
    let engine = machine.engine();
    let good = machine.configured();
    let bad = good
        .replace("min_requests = 60", "min_requests = \"ten\"")
        .replace("steps = [20, 50, 100]", "steps = [50, 20, 100]");
    machine.configure(&bad);
    let said = machine.run(&["engine", "reload"]).must(78);
    for word in [
        "canary.min_requests",
        "canary.steps",
        "the old one stays in force",
    ] {
        assert!(said.err.contains(word), "{word} in {said:?}");
    }
    engine.signal(Signal::HUP);
    eventually("the log says so", || {
        machine
            .log()
            .contains("the old one stays in force")
            .then_some(())
    });
    machine.configure(&good);
    let same = machine.run(&["status"]).must(0);
    assert!(same.err.is_empty(), "the old one holds: {same:?}");
    let export = machine.run(&["history", "export"]).must(0).out;
    assert!(!export.contains("config_reloaded"), "{export}");
}

#[test]
fn a_hangup_is_a_reload() {
    let machine = Machine::with("");
    let engine = machine.engine();
    let text = machine
        .configured()
        .replace("keep_warm = \"1s\"", "keep_warm = \"2s\"");
    machine.configure(&text);
    engine.signal(Signal::HUP);
    eventually("the new one holds", || {
        machine
            .run(&["status"])
            .must(0)
            .err
            .is_empty()
            .then_some(())
    });
    let export = machine.run(&["history", "export"]).must(0).out;
    assert!(export.contains("canary.keep_warm"), "{export}");
}

#[test]
fn a_home_that_moves_is_refused() {
    let machine = Machine::with("");
    let _engine = machine.engine();
    let text = format!("state_dir = \"elsewhere\"\n{}", machine.configured());
    machine.configure(&text);
    let said = machine.run(&["engine", "reload"]).must(3);
    assert!(said.err.contains("restart it"), "{said:?}");
}

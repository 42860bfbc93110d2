//! FAULTS 95, 127, 130 and 133 with real users of this machine: only root can play them.

use crate::machine::{Machine, is_root, skip};
use crate::support::{Background, PROGRAM, Said, eventually, said};
use std::process::Command;

/// A uid without an account, and one that every machine has.
const STRANGER: &str = "54321";
const NOBODY: &str = "65534";

/// The name of the account behind [`NOBODY`].
fn nobody() -> String {
    let user = uzers::get_user_by_uid(65_534).expect("every machine has it");
    user.name().to_str().expect("UTF-8").to_owned()
}

/// Runs a command as another uid, with the groups that may open the socket.
fn run_as(machine: &Machine, uid: &str, args: &[&str]) -> Said {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", uid, "--regid", uid, "--groups", "0"])
        .arg(PROGRAM)
        .args(args);
    machine.set(&mut command);
    said(&mut command)
}

fn can_play() -> bool {
    let can = is_root() && Command::new("setpriv").arg("--version").output().is_ok();
    if !can {
        skip("other users can be played only by root, with setpriv");
    }
    can
}

fn engine(machine: &Machine) -> Background {
    machine.engine()
}

#[test]
fn real_users_are_what_the_roles_make_of_them_and_lose_it_by_a_reload() {
    if !can_play() {
        return;
    }
    let viewer = format!("[roles.viewer]\nusers = [\"{}\"]\n", nobody());
    let machine = Machine::with(&viewer);
    let _engine = engine(&machine);
    let told = run_as(&machine, NOBODY, &["status", "--json"])
        .must(0)
        .json();
    assert_eq!(told["you"]["role"], "viewer");
    assert_eq!(told["you"]["actor"]["person"]["uid"], 65_534);
    let abort = ["abort", "shop", "-e", "prod"];
    let refused = run_as(&machine, NOBODY, &abort).must(3);
    assert!(
        refused.err.contains("a viewer may look, not abort"),
        "{refused:?}"
    );
    assert!(refused.err.contains("root: ask one of them"), "{refused:?}");
    let refused = run_as(&machine, NOBODY, &["engine", "stop"]).must(3);
    assert!(refused.err.contains("not stop the engine"), "{refused:?}");
    // A stranger who can open the socket is told nothing of what is behind it.
    let sent_away = run_as(&machine, STRANGER, &["status"]).must(69);
    assert!(
        sent_away.err.contains("this engine is not for you"),
        "{sent_away:?}"
    );
    assert!(!sent_away.out.contains("shop"), "{sent_away:?}");
    // Root names nobody an operator; the next command is judged by that.
    let operator = viewer.replace("viewer", "operator");
    let text = machine.configured().replace(&viewer, &operator);
    machine.configure(&text);
    machine.run(&["engine", "reload"]).must(0);
    let told = run_as(&machine, NOBODY, &["status", "--json"])
        .must(0)
        .json();
    assert_eq!(told["you"]["role"], "operator");
    let said = run_as(&machine, NOBODY, &abort).must(3);
    assert!(said.err.contains("no open rollout"), "{said:?}");
    run_as(&machine, NOBODY, &["note", "shop", "-e", "prod", "mine"]).must(0);
}

#[test]
fn fault_127_whoever_is_not_in_the_sockets_group_does_not_even_get_to_the_engine() {
    if !can_play() {
        return;
    }
    let machine = Machine::with(&format!("[roles.operator]\nusers = [\"{}\"]\n", nobody()));
    let _engine = engine(&machine);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .args([PROGRAM, "status"]);
    machine.set(&mut command);
    let said = said(&mut command).must(69);
    assert!(
        said.err.contains("check the socket's owner and mode"),
        "{said:?}"
    );
}

#[test]
fn fault_130_an_engine_of_another_user_is_told_nothing() {
    if !can_play() {
        return;
    }
    let machine = Machine::with("");
    // Somebody else's engine listens where the system's should.
    std::fs::create_dir_all(machine.run_dir()).expect("made");
    std::os::unix::fs::chown(machine.run_dir(), Some(65_534), None).expect("given");
    let text = format!(
        "state_dir = {:?}\n{}",
        machine.run_dir(),
        machine.configured()
    );
    let config = machine.dir.path().join("rogue.toml");
    std::fs::write(&config, text).expect("written");
    let mut rogue = Command::new("setpriv");
    rogue
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .args([PROGRAM, "engine", "run", "--config"])
        .arg(&config);
    machine.set(&mut rogue);
    let _rogue = machine.spawn(&mut rogue);
    let told = eventually("the rogue answers", || {
        let told = machine.run(&["status"]);
        (!told.err.contains("no engine answers")).then_some(told)
    });
    let told = told.must(69);
    assert!(told.err.contains("served by uid 65534"), "{told:?}");
    assert!(told.err.contains("do not trust it"), "{told:?}");
}

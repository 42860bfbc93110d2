//! Where a system engine lives, and what others may do with its files.

use crate::machine::Machine;
use crate::support::{Background, PROGRAM, mode};
use std::process::Command;

#[test]
fn it_lives_where_systemd_says_and_everybody_finds_it_by_its_file() {
    let machine = Machine::with("");
    let mut engine = machine.engine();
    let told = machine.run(&["engine", "status", "--json"]).must(0).json();
    assert_eq!(told["info"]["pid"], engine.0.id());
    assert!(machine.state().join("history.db").exists());
    assert!(machine.run_dir().join("engine.sock").exists());
    assert!(!machine.state().join("engine.sock").exists());
    // The same file named outright is the same engine.
    let config = machine.config();
    let config = config.to_str().expect("UTF-8");
    machine.run(&["status", "--config", config]).must(0);
    machine.run(&["engine", "stop"]).must(0);
    assert!(engine.ends().success());
    assert!(!machine.run_dir().join("engine.sock").exists());
}

#[test]
fn fault_131_its_socket_is_its_groups_and_its_history_its_own_whatever_the_umask() {
    for umask in ["000", "077", "777"] {
        let machine = Machine::with("");
        let mut command = Command::new("sh");
        command
            .args(["-c", "umask $1; exec \"$0\" engine run --system"])
            .args([PROGRAM, umask]);
        machine.set(&mut command);
        // Under 777 not even its own directories could be made; systemd makes them.
        std::fs::create_dir_all(machine.run_dir()).expect("made");
        let mut engine = machine.spawn(&mut command);
        machine.has_engine(&mut engine);
        assert_eq!(
            mode(&machine.run_dir().join("engine.sock")),
            0o660,
            "{umask}"
        );
        assert_eq!(mode(&machine.state()), 0o700, "{umask}");
        assert_eq!(mode(&machine.state().join("history.db")), 0o600, "{umask}");
    }
}

#[test]
fn fault_129_a_directory_that_others_could_fill_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::with("");
    std::fs::create_dir_all(machine.run_dir()).expect("made");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(machine.run_dir(), open).expect("opened");
    let said = machine.run(&["engine", "run", "--system"]).must(69);
    assert!(said.err.contains("can be written by others"), "{said:?}");
    std::fs::remove_dir(machine.run_dir()).expect("removed");
    let elsewhere = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(elsewhere.path(), machine.run_dir()).expect("linked");
    let said = machine.run(&["engine", "run", "--system"]).must(69);
    assert!(said.err.contains("is a symbolic link"), "{said:?}");
    assert_eq!(elsewhere.path().read_dir().expect("readable").count(), 0);
}

#[test]
fn a_second_one_is_refused_with_who_holds_it() {
    let machine = Machine::with("");
    let engine = machine.engine();
    let said = machine.run(&["engine", "run", "--system"]).must(73);
    let pid = format!("pid {}", engine.0.id());
    assert!(said.err.contains(&pid), "{said:?}");
}

#[test]
fn an_engine_of_another_file_is_no_system_engine() {
    let machine = Machine::with("");
    let other = machine.dir.path().join("other.toml");
    std::fs::write(&other, machine.configured()).expect("written");
    let other = other.to_str().expect("UTF-8");
    let args = ["engine", "run", "--system", "--config", other];
    let said = machine.run(&args).must(64);
    assert!(said.err.contains("etc/wheelhouse/config.toml"), "{said:?}");
}

#[test]
fn a_group_that_is_not_there_is_said_with_its_key() {
    let machine = Machine::with("[roles]\nsocket_group = \"no-such-group-here\"\n");
    let said = machine.run(&["engine", "run", "--system"]).must(78);
    assert!(said.err.contains("roles.socket_group"), "{said:?}");
}

#[test]
fn fault_014_and_027_a_killed_engine_leaves_nothing_in_the_way() {
    let machine = Machine::with("");
    let mut engine = machine.engine();
    engine.signal(rustix::process::Signal::KILL);
    engine.ends();
    assert!(
        machine.run_dir().join("engine.sock").exists(),
        "left behind"
    );
    let _next: Background = machine.engine();
}

//! J8: a policy beside the system's configuration bounds it, and roles are its alone.

use crate::machine::Machine;
use std::os::unix::fs::PermissionsExt;

fn policy(machine: &Machine, text: &str) {
    std::fs::write(machine.etc().join("policy.toml"), text).expect("written");
}

#[test]
fn the_policy_beside_the_systems_file_bounds_it_and_a_fault_names_both_lines() {
    let machine = Machine::with("");
    machine.run(&["config", "check"]).must(0);
    policy(&machine, "[policy.env.prod]\nmin_soak = \"1m\"\n");
    let said = machine.run(&["config", "check"]).must(78);
    for word in [
        "canary.soak",
        "config.toml:",
        "less than the 1m",
        "policy.toml:2)",
    ] {
        assert!(said.err.contains(word), "{word} in {said:?}");
    }
    policy(
        &machine,
        "[policy.env.prod]\nmin_soak = \"1s\"\nmax_first_weight = 20\n",
    );
    machine.run(&["config", "check"]).must(0);
    // It counts for the running engine too, and a reload may not get round it.
    let _engine = machine.engine();
    policy(&machine, "[policy.env.prod]\nmax_first_weight = 10\n");
    let said = machine.run(&["engine", "reload"]).must(78);
    assert!(said.err.contains("more than the 10 %"), "{said:?}");
}

#[test]
fn roles_in_another_file_than_the_policys_are_refused() {
    let machine = Machine::with("[roles.operator]\nusers = [\"eve\"]\n");
    policy(&machine, "[policy]\n");
    let said = machine.run(&["engine", "run", "--system"]).must(78);
    assert!(
        said.err.contains("roles are the policy's alone"),
        "{said:?}"
    );
    assert!(said.err.contains("policy.toml:1"), "{said:?}");
}

#[test]
fn fault_031_a_policy_that_others_could_write_or_that_is_a_link_is_refused() {
    let machine = Machine::with("");
    policy(&machine, "[policy]\n");
    let file = machine.etc().join("policy.toml");
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&file, open).expect("opened");
    let said = machine.run(&["config", "check"]).must(78);
    assert!(
        said.err.contains("can be written by") && said.err.contains("the policy"),
        "{said:?}"
    );
    let elsewhere = machine.dir.path().join("elsewhere.toml");
    std::fs::write(&elsewhere, "[policy]\n").expect("written");
    std::fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink(&elsewhere, &file).expect("linked");
    let said = machine.run(&["config", "check"]).must(78);
    assert!(said.err.contains("is a symbolic link"), "{said:?}");
}

//! Network, processes and mounts of a test's own: the test runs itself again in there. Nothing it
//! starts can outlive it, whichever way it ends, and the machine's network is not touched.

use crate::needs::found_or_skipped;
use std::process::Command;

/// Set for a test that runs in there.
const INSIDE: &str = "WHEELHOUSE_TEST_INSIDE";
/// Everything is killed when the process dies that began it.
const NAMESPACES: [&str; 8] = [
    "--pdeathsig",
    "KILL",
    "unshare",
    "--net",
    "--pid",
    "--mount",
    "--fork",
    "--kill-child",
];

/// Whether this process is in there.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Whether this user may have that here: root may.
pub fn available() -> bool {
    let script = "ip link set lo up";
    let tried = entered(script, &[]).output();
    let found = tried.is_ok_and(|output| output.status.success());
    found_or_skipped("root, unshare, setpriv and ip", found)
}

/// Runs the test of this name in there; it must pass.
pub fn run_again(test: &str) {
    let program = std::env::current_exe().expect("this test's program");
    let program = program.to_string_lossy().into_owned();
    let script = "ip link set lo up && exec \"$@\"";
    let arguments = [&*program, test, "--exact", "--nocapture"];
    let output = entered(script, &arguments).env(INSIDE, "1").output();
    let output = output.expect("unshare");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("1 passed"), "no test is called {test}: {out}");
}

fn entered(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(NAMESPACES)
        .args(["--mount-proc", "--", "sh", "-c", script, "sh"]);
    command.args(arguments);
    command
}

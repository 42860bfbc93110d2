//! Network, processes and mounts of a test's own: the test runs itself again in there. Nothing it
//! starts can outlive it, whichever way it ends, and the machine's network is not touched.

use crate::needs::found_or_skipped;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set for a test that runs in there.
const INSIDE: &str = "WHEELHOUSE_TEST_INSIDE";
/// Under which its containers are counted.
pub const CONTROL_GROUP: &str = "wheelhouse-test";
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

/// A program in there, with a directory for what it leaves.
pub fn again(program: &[&str], temporary: &Path) -> Command {
    // The shell stays: the first process of a namespace must take leave of all that end there.
    let script = "ip link set lo up && mkdir -p /run/containerd && \
                  mount -t tmpfs tmpfs /run/containerd && \"$@\"; exit $?";
    let mut command = entered(script, program);
    command.env(INSIDE, "1").env("TMPDIR", temporary);
    command
}

/// Runs the test of this name in there; it must pass.
pub fn run_again(test: &str) {
    let program = std::env::current_exe().expect("this test's program");
    let program = program.to_string_lossy().into_owned();
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = [&*program, test, "--exact", "--nocapture"];
    let output = again(&arguments, directory.path()).output();
    let output = output.expect("unshare");
    remove_control_groups();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("1 passed"), "no test is called {test}: {out}");
}

/// Removes the groups of containers that are gone, also what a killed run left. A group that is in
/// use cannot be removed.
pub fn remove_control_groups() {
    let below = |path: &Path| -> Vec<PathBuf> {
        let found = std::fs::read_dir(path).into_iter().flatten().flatten();
        found.map(|entry| entry.path()).collect()
    };
    let root = Path::new("/sys/fs/cgroup");
    // Of version 2 the first, of version 1 one below each controller.
    let parents = below(root).into_iter().chain([root.to_owned()]);
    for group in parents.map(|parent| parent.join(CONTROL_GROUP)) {
        for container in below(&group).into_iter().chain([group]) {
            drop(std::fs::remove_dir(container));
        }
    }
}

fn entered(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(NAMESPACES)
        .args(["--mount-proc", "--", "sh", "-c", script, "sh"]);
    command.args(arguments);
    command
}

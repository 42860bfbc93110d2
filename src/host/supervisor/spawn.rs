//! How a process is begun: its own group, no input, captured output, and an environment that
//! holds only what was meant for it.

use crate::host::process::RUN_VARIABLE;
use crate::ports::Start;
use std::io;
use std::process::Stdio;
use tokio::process::{Child, Command};
use uuid::Uuid;

/// What an instance inherits of the host's own environment; the rest stays private.
const INHERITED: [&str; 10] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
];

/// Begins the process. Its run's identity is in its environment.
///
/// # Errors
/// As the system says, most often that the program does not exist.
pub(super) fn spawn(start: &Start, run: Uuid) -> io::Result<Child> {
    let (program, arguments) = start
        .workload
        .command
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(fill(program, start));
    command
        .args(arguments.iter().map(|argument| fill(argument, start)))
        .env_clear()
        .envs(
            INHERITED
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
    for (name, value) in &start.workload.env {
        command.env(name, fill(value, start));
    }
    command
        .env("WHEELHOUSE_RELEASE", start.release.to_string())
        .env("WHEELHOUSE_SERVER", start.server.as_str())
        .env(RUN_VARIABLE, run.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(directory) = &start.workload.directory {
        command.current_dir(directory);
    }
    command.spawn()
}

/// Fills in what differs between instances. The version was filled in when the release was made.
fn fill(text: &str, start: &Start) -> String {
    if !text.contains('{') {
        return text.to_owned();
    }
    text.replace("{port}", &start.address.port().to_string())
        .replace("{address}", &start.address.to_string())
        .replace("{server}", start.server.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ReleaseId;
    use crate::model::service::Workload;

    #[test]
    fn what_differs_between_instances_is_filled_in_and_other_braces_stay() {
        let start = Start {
            id: 1,
            placement: "shop@test".parse().expect("valid"),
            server: "web1".parse().expect("valid"),
            address: "127.0.0.1:18001".parse().expect("valid"),
            release: ReleaseId(Uuid::nil()),
            workload: Workload {
                command: Vec::new(),
                env: std::collections::BTreeMap::new(),
                directory: None,
                stop_grace_ms: 0,
            },
            keep_running: false,
        };
        let filled = fill("--at {address} -p {port} {server} {\"json\":1}", &start);
        assert_eq!(filled, "--at 127.0.0.1:18001 -p 18001 web1 {\"json\":1}");
    }
}

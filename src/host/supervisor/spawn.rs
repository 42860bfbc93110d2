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
    let workload = start.workload.of_instance(&start.server, start.address);
    let (program, arguments) = workload
        .command
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(
        INHERITED
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?))),
    );
    command
        .envs(&workload.env)
        .env("WHEELHOUSE_RELEASE", start.release.to_string())
        .env("WHEELHOUSE_SERVER", start.server.as_str())
        .env(RUN_VARIABLE, run.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(directory) = &workload.directory {
        command.current_dir(directory);
    }
    command.spawn()
}

//! A check by a program that the engine runs: exit code 0 passes. The program and all it began form
//! one process group, which is killed when it is over, however it ended.

use crate::model::service::fill_in;
use crate::model::{Clean, ServerName};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Most a program may print on one stream, in bytes; who prints more has failed.
pub const OUTPUT_MAX: usize = 1024 * 1024;

/// What is kept of the end of a stream, in bytes: a reason holds no more.
const KEPT: usize = 2 * 1024;

/// How long the output is waited for once the program has ended; only a process that left the group
/// could still hold it open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the program inherits of the engine's own environment; the rest stays private.
const INHERITED: [&str; 10] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
];

/// Runs the program for one instance; `Err` says how it ended and what it printed last.
pub(super) async fn run(
    words: &[String],
    server: &ServerName,
    address: SocketAddr,
) -> Result<(), String> {
    let words: Vec<_> = words
        .iter()
        .map(|word| fill_in(word, server, address))
        .collect();
    let mut child = spawn(&words).map_err(|error| format!("it cannot be run: {error}"))?;
    let group = Group::of(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut said = Said::default();
    let status = {
        let mut output = std::pin::pin!(said.listen(out, err));
        let early = tokio::select! {
            status = child.wait() => Ok(status),
            heard = &mut output => Err(heard),
        };
        match early {
            Ok(status) => {
                // What it left behind would hold its output open.
                drop(group);
                let heard = timeout(LAST_WORDS, output).await;
                heard.unwrap_or(Ok(()))?;
                status
            }
            Err(heard) => {
                heard?;
                child.wait().await
            }
        }
    };
    judge(status, &said)
}

fn spawn(words: &[String]) -> io::Result<Child> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let inherited = INHERITED
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(inherited)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn judge(status: io::Result<ExitStatus>, said: &Said) -> Result<(), String> {
    let status = status.map_err(|error| error.to_string())?;
    match (status.success(), said.last()) {
        (true, _) => Ok(()),
        (false, None) => Err(format!("{status}")),
        (false, Some(text)) => Err(format!("{status}: {text}")),
    }
}

/// A process group that is killed when nobody waits for it any more.
struct Group(Option<Pid>);

impl Group {
    /// The group that a child just begun leads.
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // A group that is gone needs no signal.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The ends of what a program printed.
#[derive(Default)]
struct Said {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Said {
    /// Reads both streams to their end.
    async fn listen(
        &mut self,
        out: Option<impl AsyncRead + Unpin>,
        err: Option<impl AsyncRead + Unpin>,
    ) -> Result<(), String> {
        let Self {
            out: out_kept,
            err: err_kept,
        } = self;
        tokio::try_join!(keep_end(out, out_kept), keep_end(err, err_kept)).map(drop)
    }

    /// The last thing it complained about, else the last thing it said, on one line.
    fn last(&self) -> Option<Clean> {
        [&self.err, &self.out].into_iter().find_map(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            let line = text.lines().rev().map(str::trim).find(|it| !it.is_empty());
            line.map(Clean::new)
        })
    }
}

async fn keep_end(
    stream: Option<impl AsyncRead + Unpin>,
    kept: &mut Vec<u8>,
) -> Result<(), String> {
    let Some(mut stream) = stream else {
        return Ok(());
    };
    let mut chunk = [0; 4 * 1024];
    let mut total = 0;
    loop {
        let read = stream.read(&mut chunk).await;
        match read.map_err(|error| error.to_string())? {
            0 => return Ok(()),
            read => {
                total += read;
                kept.extend_from_slice(&chunk[..read]);
                kept.drain(..kept.len().saturating_sub(KEPT));
            }
        }
        if total > OUTPUT_MAX {
            return Err(format!("it printed more than {OUTPUT_MAX} bytes"));
        }
    }
}

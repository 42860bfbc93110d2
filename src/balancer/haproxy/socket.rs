//! One exchange with HAProxy's stats socket: connect, one line, the whole reply.
//!
//! Must not know what a reply means. It only tells apart whether HAProxy may have got the line.

use super::HaproxyOptions;
use crate::model::Clean;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

/// Longest reply that is read. A backend of 1,000 servers answers with about 600 KB.
pub(super) const REPLY_MAX: usize = 1024 * 1024;

/// Longest command line that is sent: HAProxy refuses lines beyond its buffer
/// (`tune.bufsize`, 16,384 bytes unless configured).
pub(super) const LINE_MAX: usize = 16_000;

/// Why an exchange gave no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AskError {
    /// HAProxy certainly never got the line.
    NotSent(Clean),
    /// HAProxy may have got it, and may still carry it out.
    Unanswered(Clean),
}

impl AskError {
    /// The reason, whichever it is.
    pub(super) fn into_why(self) -> Clean {
        match self {
            Self::NotSent(why) | Self::Unanswered(why) => why,
        }
    }
}

/// Sends one line and reads until HAProxy closes. `line` must hold no newline.
pub(super) async fn ask(
    options: &HaproxyOptions,
    line: &str,
    deadline: Instant,
) -> Result<String, AskError> {
    let mut stream = connect(options, deadline).await?;
    let unanswered = |what: &str, mend: &str| AskError::Unanswered(says(options, what, mend));
    let exchange = async {
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        let mut reply = Vec::new();
        let cap = REPLY_MAX as u64 + 1;
        stream.take(cap).read_to_end(&mut reply).await?;
        Ok::<_, io::Error>(reply)
    };
    let reply = match timeout_at(deadline, exchange).await {
        Err(_) => return Err(unanswered("gave no whole answer in time", HANGS)),
        Ok(Err(error)) => return Err(unanswered(&reason(&error), RUNS)),
        Ok(Ok(reply)) => reply,
    };
    if reply.len() > REPLY_MAX {
        let what = format!("answered with more than {REPLY_MAX} bytes");
        return Err(unanswered(&what, "is this HAProxy's stats socket?"));
    }
    String::from_utf8(reply).map_err(|_| {
        unanswered(
            "answered with bytes that are no text",
            "is this HAProxy's stats socket?",
        )
    })
}

const RUNS: &str = "see that HAProxy runs and has `stats socket` at this path";
const HANGS: &str = "see whether HAProxy hangs";

async fn connect(options: &HaproxyOptions, deadline: Instant) -> Result<UnixStream, AskError> {
    let not_sent = |what: &str, mend: &str| AskError::NotSent(says(options, what, mend));
    match timeout_at(deadline, UnixStream::connect(&options.socket)).await {
        Err(_) => Err(not_sent("accepted no connection in time", HANGS)),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Err(not_sent(
            "permission denied",
            "let this user open it (`mode`, `user`, `group` on the `stats socket` line)",
        )),
        Ok(Err(error)) => Err(not_sent(&reason(&error), RUNS)),
    }
}

fn says(options: &HaproxyOptions, what: &str, mend: &str) -> Clean {
    let (name, socket) = (&options.name, options.socket.display());
    Clean::new(&format!("HAProxy {name} at {socket}: {what}; {mend}"))
}

/// The operating system's words without its number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "closed the connection".to_owned()
        }
        _ => error.to_string(),
    }
}

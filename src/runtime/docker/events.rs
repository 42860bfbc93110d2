//! The daemon's stream of events, as hints whose containers should be read anew.
//!
//! Nothing is concluded from an event: it may be missed, come twice or out of order. Each
//! connection begins with a hint for everybody, for whatever happened while there was none.

use super::DockerRuntime;
use super::connect::CallError;
use super::labels;
use crate::model::Placement;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// What containers do that may change a reading.
const MEANT: [&str; 6] = ["start", "die", "oom", "rename", "update", "destroy"];
/// For the head of the answer: a frozen daemon takes the connection and says nothing.
const HEAD: Duration = Duration::from_secs(5);
/// A stream that was silent for so long is opened anew: behind a network it may have died unseen.
const SILENCE: Duration = Duration::from_secs(60);
/// Between two connections, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A stream that lasted for so long was a good one.
const LASTED: Duration = Duration::from_secs(5);
/// Longest event that is taken apart. It carries all labels of its container; of a longer one it
/// is only known that something happened.
const EVENT_BYTES_MAX: usize = 64 * 1024;

impl DockerRuntime {
    /// As [`crate::ports::Runtime::watch`]; reconnects for ever.
    pub(super) async fn follow_events(&self, tell: impl Fn(Option<Placement>) + Send + Sync) {
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            if let Err(error) = self.events(&tell).await {
                tracing::debug!("runtime {}: events: {error}", self.name);
            }
            // The daemon may be another one now, or gone.
            tell(None);
            pause = match began.elapsed() >= LASTED {
                true => PAUSE_MIN,
                false => (pause * 2).min(PAUSE_MAX),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One connection, until it ends.
    async fn events(&self, tell: impl Fn(Option<Placement>)) -> Result<(), CallError> {
        let opened = timeout(HEAD, self.connection.stream(&path())).await;
        let silent = |_| CallError::Lost(format!("no answer within {} s", HEAD.as_secs()));
        let mut body = opened.map_err(silent)??;
        tell(None);
        let mut lines = Lines::default();
        while let Some(bytes) = next(&mut body).await? {
            for line in lines.take(&bytes) {
                let told = whose(&line);
                tracing::debug!(
                    "runtime {}: an event of {}",
                    self.name,
                    told.as_ref()
                        .map_or("somebody".to_owned(), ToString::to_string)
                );
                tell(told);
            }
        }
        Ok(())
    }
}

/// The next piece of the stream; `None` at its end, and after a long silence.
async fn next(body: &mut Incoming) -> Result<Option<Vec<u8>>, CallError> {
    match timeout(SILENCE, body.frame()).await {
        Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default().to_vec())),
        Ok(Some(Err(error))) => Err(CallError::Lost(error.to_string())),
        Ok(None) | Err(_) => Ok(None),
    }
}

/// Events of our containers only. The filters are JSON in a query, so every quote is escaped.
fn path() -> String {
    let filters = serde_json::json!({
        "type": ["container"], "label": [labels::RELEASE], "event": MEANT,
    });
    let escaped: String = filters
        .to_string()
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!("/events?filters={escaped}")
}

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "Attributes", default)]
    attributes: HashMap<String, String>,
}

/// Whose container an event is about; `None` where that cannot be told.
fn whose(line: &[u8]) -> Option<Placement> {
    let told: Told = serde_json::from_slice(line).ok()?;
    labels::whose(&told.actor.attributes)
}

/// Cuts a stream into lines of bounded length. Of one that is too long an empty line is left.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
    /// Whether the line under way is too long already.
    over: bool,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            self.over |= self.rest.len() + text.len() > EVENT_BYTES_MAX;
            match self.over {
                true => self.rest.clear(),
                false => self.rest.extend_from_slice(text),
            }
            if ends {
                let line = std::mem::take(&mut self.rest);
                let was_over = std::mem::take(&mut self.over);
                all.extend((was_over || !line.trim_ascii().is_empty()).then_some(line));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(service: &str) -> String {
        serde_json::json!({
            "Type": "container", "Action": "die",
            "Actor": { "ID": "0123", "Attributes": {
                "wheelhouse.service": service, "wheelhouse.environment": "test",
            } },
        })
        .to_string()
    }

    #[test]
    fn an_event_tells_whose_container_it_is_about_however_it_is_cut() {
        let text = format!("{}\n{}\n", event("shop"), event("cart"));
        for size in [1, 7, text.len()] {
            let mut lines = Lines::default();
            let whole = text
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| lines.take(piece));
            let told: Vec<_> = whole.map(|line| whose(&line)).collect();
            let placement = |text: &str| Some(text.parse().expect("a placement"));
            assert_eq!(
                told,
                [placement("shop@test"), placement("cart@test")],
                "{size}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_hint_for_everybody() {
        for odd in ["{}", "nonsense", "{\"Actor\":{\"ID\":\"1\"}}"] {
            assert_eq!(whose(odd.as_bytes()), None, "{odd}");
        }
        let mut lines = Lines::default();
        let long = format!("{}\n{}\n", "x".repeat(EVENT_BYTES_MAX + 1), event("shop"));
        let cut: Vec<_> = long
            .as_bytes()
            .chunks(1_000)
            .flat_map(|piece| lines.take(piece))
            .collect();
        assert_eq!(cut.len(), 2, "the long one is told, and the next one whole");
        assert_eq!((whose(&cut[0]), whose(&cut[1]).is_some()), (None, true));
        assert!(lines.rest.capacity() <= 2 * EVENT_BYTES_MAX);
    }

    #[test]
    fn only_events_of_our_containers_are_asked_for() {
        let path = path();
        assert!(path.starts_with("/events?filters=%7B%22"), "{path}");
        assert!(
            path.contains("wheelhouse.release") && !path.contains('"'),
            "{path}"
        );
    }
}

//! Pulls of images in the background: one per image and host, however many instances wait for it.
//! Must not know who waits.

use super::connect::{CallError, Connection};
use super::login::Logins;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Without a byte for this long, a pull is given up.
pub const STALLED: Duration = Duration::from_secs(60);
/// After a failure that may pass, the next try comes no sooner.
const PAUSE: Duration = Duration::from_secs(5);

/// How a pull stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pull {
    /// It goes on.
    Pulling {
        /// Bytes loaded of the layers begun.
        done_bytes: u64,
        /// Bytes of the layers begun.
        total_bytes: u64,
    },
    /// It failed and is tried again.
    Failed(String),
    /// It failed in a way that no further try can mend.
    Hopeless(String),
    /// The image is there.
    Done,
}

impl Pull {
    /// What it waits for, for people.
    pub fn words(&self, image: &str) -> String {
        match self {
            Self::Pulling {
                done_bytes,
                total_bytes,
            } => format!(
                "pulling {image}: {} of {} MB",
                done_bytes / 1_000_000,
                total_bytes.div_ceil(1_000_000)
            ),
            Self::Failed(why) => format!("pulling {image}: {why}; it is tried again"),
            Self::Hopeless(why) => format!("image {image} cannot be pulled: {why}"),
            Self::Done => format!("image {image} is there"),
        }
    }
}

/// The pulls of one daemon.
#[derive(Debug, Clone, Default)]
pub struct Pulls {
    all: Arc<Mutex<HashMap<String, Entry>>>,
}

#[derive(Debug, Clone)]
struct Entry {
    state: Pull,
    ended: Option<Instant>,
}

impl Pulls {
    /// How the pull of an image stands, if one was begun.
    pub fn state(&self, image: &str) -> Option<Pull> {
        let all = self.all.lock().ok()?;
        all.get(image).map(|entry| entry.state.clone())
    }

    /// Joins the pull of an image, or begins one. A failed one begins anew after a pause, one that
    /// is done at once: whoever asks has not found the image.
    pub fn join(&self, connection: &Connection, logins: &Logins, image: &str) -> Pull {
        let begun = Pull::Pulling {
            done_bytes: 0,
            total_bytes: 0,
        };
        let Ok(mut all) = self.all.lock() else {
            return begun;
        };
        if let Some(entry) = all.get(image) {
            let rested = entry.ended.is_some_and(|ended| ended.elapsed() >= PAUSE);
            let again = match entry.state {
                Pull::Pulling { .. } => false,
                Pull::Done => true,
                Pull::Failed(_) | Pull::Hopeless(_) => rested,
            };
            if !again {
                return entry.state.clone();
            }
        }
        let entry = Entry {
            state: begun.clone(),
            ended: None,
        };
        all.insert(image.to_owned(), entry);
        let task = Task {
            pulls: self.clone(),
            connection: connection.clone(),
            logins: logins.clone(),
            image: image.to_owned(),
        };
        tokio::spawn(task.run());
        begun
    }

    /// Whether a failed pull has rested long enough to begin anew.
    pub fn may_begin(&self, image: &str) -> bool {
        let all = self.all.lock();
        let entry = all.ok().and_then(|all| all.get(image).cloned());
        entry.is_some_and(|entry| entry.ended.is_some_and(|ended| ended.elapsed() >= PAUSE))
    }

    fn set(&self, image: &str, state: Pull) {
        if let Ok(mut all) = self.all.lock() {
            let going_on = matches!(state, Pull::Pulling { .. });
            let ended = (!going_on).then(Instant::now);
            all.insert(image.to_owned(), Entry { state, ended });
        }
    }
}

struct Task {
    pulls: Pulls,
    connection: Connection,
    logins: Logins,
    image: String,
}

impl Task {
    async fn run(self) {
        let state = match self.pull().await {
            Ok(()) => Pull::Done,
            Err(failure) => failure,
        };
        if state != Pull::Done {
            tracing::warn!("{}", state.words(&self.image));
        }
        self.pulls.set(&self.image, state);
    }

    async fn pull(&self) -> Result<(), Pull> {
        let login = self.logins.of(&self.image).await.map_err(Pull::Hopeless)?;
        let (_, docker) = self.connection.api().await.map_err(judged)?;
        let options = CreateImageOptionsBuilder::default()
            .from_image(&self.image)
            .build();
        let mut stream = docker.create_image(Some(options), None, login).boxed();
        let mut layers = Layers::default();
        let mut moved = Instant::now();
        loop {
            let left = STALLED.saturating_sub(moved.elapsed());
            match timeout(left, stream.next()).await {
                Err(_) => {
                    let why = format!("no byte for {} s", STALLED.as_secs());
                    return Err(Pull::Failed(why));
                }
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(judged(error.into())),
                Ok(Some(Ok(progress))) if layers.take(&progress) => moved = Instant::now(),
                Ok(Some(Ok(_))) => {}
            }
            let (done_bytes, total_bytes) = layers.bytes();
            let state = Pull::Pulling {
                done_bytes,
                total_bytes,
            };
            self.pulls.set(&self.image, state);
        }
        let there = docker.inspect_image(&self.image).await;
        there.map(drop).map_err(|error| judged(error.into()))
    }
}

/// What cannot be mended by trying again: the registry's or the daemon's own final words.
fn judged(error: CallError) -> Pull {
    const FINAL: [&str; 11] = [
        "not found",
        "unknown",
        "unauthorized",
        "denied",
        "authentication required",
        "no basic auth",
        "verification failed",
        "does not match",
        "no matching manifest",
        "invalid reference",
        "no space left",
    ];
    let text = error.to_string();
    let low = text.to_lowercase();
    let refused = matches!(error, CallError::Refused { .. });
    match refused && FINAL.iter().any(|word| low.contains(word)) {
        true => Pull::Hopeless(text),
        false => Pull::Failed(text),
    }
}

/// Bytes by layer.
#[derive(Default)]
struct Layers(BTreeMap<String, (u64, u64)>);

impl Layers {
    /// Takes in one word of progress; whether anything moved.
    fn take(&mut self, progress: &CreateImageInfo) -> bool {
        let detail = progress.progress_detail.as_ref();
        let number = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok());
        let id = progress.id.clone().unwrap_or_default();
        let current = detail.and_then(|detail| number(detail.current));
        let total = detail.and_then(|detail| number(detail.total));
        let status = progress.status.as_deref().unwrap_or_default();
        // Unpacking counts its own bytes; they are progress, but no further load.
        let key = match status.starts_with("Extracting") {
            true => format!("{id} extracting"),
            false => id,
        };
        let known = self.0.get(&key).copied();
        match (current, total) {
            (Some(current), total) => {
                let total = total.or(known.map(|(_, total)| total)).unwrap_or(current);
                self.0.insert(key, (current, total)) != Some((current, total))
            }
            // A new word about a layer, such as "Pull complete", is a move too; it has no bytes.
            _ => known.is_none() && self.0.insert(key, (0, 0)).is_none(),
        }
    }

    fn bytes(&self) -> (u64, u64) {
        let loads = self
            .0
            .iter()
            .filter(|(key, _)| !key.ends_with("extracting"));
        loads.fold((0, 0), |(done, all), (_, (current, total))| {
            (done + current, all + total)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(id: &str, status: &str, bytes: Option<(i64, i64)>) -> CreateImageInfo {
        let detail =
            bytes.map(|(current, total)| serde_json::json!({ "current": current, "total": total }));
        let text = serde_json::json!({
            "id": id, "status": status, "progressDetail": detail.unwrap_or(serde_json::json!({})),
        });
        serde_json::from_value(text).expect("an answer")
    }

    #[test]
    fn fault_57_only_bytes_and_new_layers_are_progress() {
        let mut layers = Layers::default();
        assert!(layers.take(&word("a", "Pulling fs layer", None)));
        assert!(layers.take(&word("a", "Downloading", Some((10, 100)))));
        assert!(
            !layers.take(&word("a", "Downloading", Some((10, 100)))),
            "stalled"
        );
        assert!(layers.take(&word("b", "Downloading", Some((5, 50)))));
        assert!(layers.take(&word("a", "Extracting", Some((1, 100)))));
        assert_eq!(layers.bytes(), (15, 150));
    }

    #[test]
    fn fault_56_final_words_are_told_from_those_that_may_pass() {
        let refused = |message: &str| CallError::Refused {
            status: 500,
            message: message.to_owned(),
        };
        for last in [
            "unauthorized: authentication required",
            "manifest for r:5000/shop:v9 not found: manifest unknown",
            "manifest verification failed for digest sha256:00",
        ] {
            assert!(matches!(judged(refused(last)), Pull::Hopeless(_)), "{last}");
        }
        for passing in [
            "toomanyrequests: rate limit",
            "dial tcp: connection refused",
        ] {
            assert!(
                matches!(judged(refused(passing)), Pull::Failed(_)),
                "{passing}"
            );
        }
        let lost = CallError::Lost("connection closed: not found".to_owned());
        assert!(matches!(judged(lost), Pull::Failed(_)), "nobody answered");
    }
}

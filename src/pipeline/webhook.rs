//! Hears from GitHub and GitLab that a branch or a tag moved, and asks for the pipelines that are
//! meant. That is all it can ask for: [`TriggerAsked`] has no other verb.
//!
//! A request is verified on its bytes as they came, before anything of it is read; whoever is not
//! known learns nothing. It listens without TLS, on loopback unless somebody wants otherwise: what
//! faces the world belongs in front of it. Must not know what a pipeline does.

mod door;
mod github;
mod gitlab;
mod rate;
mod recent;
#[cfg(test)]
mod tests;
mod verify;

pub use door::serve;

use crate::model::pipeline::{Provider, Trigger, is_like};
use crate::model::{Clean, EnvName, PipelineName, RequestId, RunNumber};
use crate::secret::Secret;
use hyper::header::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Longest text taken over from a payload, in characters.
const TEXT_MAX: usize = 120;
/// What may start which pipelines, and how much of it is heard.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Of those for one repository the first that fits counts.
    pub rules: Vec<WebhookRule>,
    /// What is heard at most.
    pub limits: WebhookLimits,
}

/// What may start one pipeline.
#[derive(Debug, Clone)]
pub struct WebhookRule {
    /// Who sends.
    pub provider: Provider,
    /// The repository as its provider calls it: `owner/name`, `group/project`.
    pub repository: String,
    /// What the provider signs with, or sends along; each of them is good, so that one can be
    /// replaced by the next.
    pub secrets: Vec<Secret>,
    /// What it starts.
    pub pipeline: PipelineName,
    /// How far it goes; `None`: all the way.
    pub environment: Option<EnvName>,
    /// What is listened to.
    pub events: BTreeSet<WebhookEvent>,
    /// Branches, for pushes and merges; `*` stands for any characters. None: no branch.
    pub branches: Vec<String>,
    /// Tags; `*` stands for any characters. None: no tag.
    pub tags: Vec<String>,
}

/// What happened to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WebhookEvent {
    /// A branch moved. Providers send this for a merge too.
    Push,
    /// A tag was made.
    Tag,
    /// A pull or merge request was merged.
    Merge,
}

/// What is heard at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookLimits {
    /// Of one body.
    pub body_bytes_max: usize,
    /// For one request, from its first byte to its last.
    pub request_ms: u64,
    /// For the engine to answer.
    pub start_ms: u64,
    /// Connections at once; more are turned away.
    pub connections_max: usize,
    /// Requests per minute from one address, as many at once.
    pub per_sender: u32,
    /// Requests per minute from all, as many at once.
    pub in_all: u32,
}

impl WebhookLimits {
    /// Limits that no ordinary repository reaches.
    pub fn usual() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            request_ms: 10_000,
            start_ms: 8_000,
            connections_max: 16,
            per_sender: 60,
            in_all: 240,
        }
    }
}

/// A pipeline that somebody asks to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerAsked {
    /// Who sent it.
    pub provider: Provider,
    /// What the sender calls this delivery, for people: it is not signed.
    pub delivery: Clean,
    /// What must not start a second run. For GitHub it is made of what is signed, so that a replay
    /// under another delivery's name has the same. GitLab signs nothing, and may send the same body
    /// twice with a meaning: there the delivery's name is part of it.
    pub request_id: RequestId,
    /// What is asked for.
    pub pipeline: PipelineName,
    /// How far it goes; `None`: all the way.
    pub environment: Option<EnvName>,
    /// The repository's full name.
    pub repository: Clean,
    /// What happened.
    pub event: WebhookEvent,
    /// The branch or the tag, without `refs/…/`.
    pub branch: Clean,
    /// The commit, full.
    pub commit: Clean,
    /// Who did it, as the provider calls them.
    pub who: Clean,
    /// What it is about, in a line; may be empty.
    pub subject: Clean,
}

impl TriggerAsked {
    /// What begins a run.
    pub fn trigger(&self) -> Trigger {
        let reason = match self.subject.is_empty() {
            true => self.who.to_string(),
            false => format!("{}: {}", self.who, self.subject),
        };
        Trigger {
            revision: self.commit.clone(),
            branch: self.branch.clone(),
            environment: self.environment.clone(),
            reason: Some(Clean::new(&reason)),
            request_id: Some(self.request_id.clone()),
            provider: Some(self.provider),
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// A run began.
    Begun(RunNumber),
    /// The same request began this run before.
    Already(RunNumber),
    /// It must not begin now.
    Refused(Clean),
    /// Nobody can say; the sender may try again.
    Unavailable(Clean),
}

/// What a verified payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Moved(Moved),
    /// Well known, and nothing follows from it.
    Nothing(&'static str),
}

/// A branch or a tag that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moved {
    event: WebhookEvent,
    repository: String,
    branch: String,
    commit: String,
    who: String,
    subject: String,
}

impl WebhookRule {
    fn fits(&self, moved: &Moved) -> bool {
        let patterns = match moved.event {
            WebhookEvent::Tag => &self.tags,
            WebhookEvent::Push | WebhookEvent::Merge => &self.branches,
        };
        self.repository.eq_ignore_ascii_case(&moved.repository)
            && self.events.contains(&moved.event)
            && patterns
                .iter()
                .any(|pattern| is_like(pattern, &moved.branch))
    }
}

fn asked(
    provider: Provider,
    headers: &HeaderMap,
    body: &[u8],
    rule: &WebhookRule,
    moved: &Moved,
) -> Result<TriggerAsked, &'static str> {
    let (word, delivery) = match provider {
        Provider::Github => ("github", one(headers, "x-github-delivery")?),
        Provider::Gitlab => {
            let key = one(headers, "idempotency-key")?;
            ("gitlab", key.or(one(headers, "x-gitlab-event-uuid")?))
        }
    };
    let mut digest = Sha256::new_with_prefix(body);
    if let (Provider::Gitlab, Some(key)) = (provider, delivery) {
        digest.update(key);
    }
    let digest = digest.finalize();
    let hex: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let id = format!("{word}:{hex}:{}", rule.pipeline);
    let line = |text: &str| Clean::line(text, TEXT_MAX);
    Ok(TriggerAsked {
        provider,
        delivery: line(delivery.unwrap_or("unnamed")),
        request_id: id
            .parse()
            .expect("invariant: a word, hex digits and a name"),
        pipeline: rule.pipeline.clone(),
        environment: rule.environment.clone(),
        repository: line(&moved.repository),
        event: moved.event,
        branch: Clean::new(&moved.branch),
        commit: Clean::new(&moved.commit),
        who: line(&moved.who),
        subject: line(&moved.subject),
    })
}

/// The only value of a header; `None` where there is none.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(HeaderValue::to_str);
    match (first, values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text)),
        _ => Err("a header is there twice, or is no text"),
    }
}

/// A branch or a tag by its full reference.
fn reference(full: &str) -> Option<(WebhookEvent, &str)> {
    let branch = full.strip_prefix("refs/heads/");
    let tag = full.strip_prefix("refs/tags/");
    let named = branch.map(|name| (WebhookEvent::Push, name));
    named.or(tag.map(|name| (WebhookEvent::Tag, name)))
}

/// Whether a commit is one: its full name, and not the zeros that stand for none.
fn is_commit(text: &str) -> bool {
    super::git::is_full(text) && text.bytes().any(|byte| byte != b'0')
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

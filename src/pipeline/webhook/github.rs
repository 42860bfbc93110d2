//! What GitHub says in its events `push` and `pull_request`. Pure.
//!
//! Docs: "Webhook events and payloads".

use super::{Heard, Moved, WebhookEvent, first_line, is_commit, one, reference};
use hyper::header::HeaderMap;
use serde::Deserialize;

#[derive(Deserialize)]
struct Push {
    r#ref: String,
    after: String,
    #[serde(default)]
    deleted: bool,
    head_commit: Option<Commit>,
    repository: Repository,
    pusher: Option<Pusher>,
    sender: Option<Sender>,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

#[derive(Deserialize)]
struct Pusher {
    name: String,
}

#[derive(Deserialize)]
struct Sender {
    login: String,
}

#[derive(Deserialize)]
struct PullRequestEvent {
    action: String,
    pull_request: PullRequest,
    repository: Repository,
    sender: Option<Sender>,
}

#[derive(Deserialize)]
struct PullRequest {
    #[serde(default)]
    title: String,
    #[serde(default)]
    merged: bool,
    merge_commit_sha: Option<String>,
    base: Base,
    merged_by: Option<Sender>,
}

#[derive(Deserialize)]
struct Base {
    r#ref: String,
}

/// Reads a verified request.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Heard, &'static str> {
    let event = one(headers, "x-github-event")?.ok_or("X-GitHub-Event is missing")?;
    match event {
        "ping" => Ok(Heard::Nothing("pong")),
        "push" => push(parse(body)?),
        "pull_request" => pull_request(parse(body)?),
        _ => Ok(Heard::Nothing(
            "ignored: only push and pull_request start anything",
        )),
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, &'static str> {
    let wrong = "the body is not the JSON of that event; set the content type application/json";
    serde_json::from_slice(body).map_err(|_| wrong)
}

fn push(push: Push) -> Result<Heard, &'static str> {
    if push.deleted {
        return Ok(Heard::Nothing("ignored: it was deleted"));
    }
    let Some((event, name)) = reference(&push.r#ref) else {
        return Ok(Heard::Nothing("ignored: neither a branch nor a tag"));
    };
    // For a tag with a message `after` is the tag itself.
    let (commit, message) = match push.head_commit {
        Some(head) => (head.id, head.message),
        None => (push.after, String::new()),
    };
    let who = push.pusher.map(|pusher| pusher.name);
    let who = who.or(push.sender.map(|sender| sender.login));
    moved(Moved {
        event,
        repository: push.repository.full_name,
        branch: name.to_owned(),
        commit,
        who: who.unwrap_or_default(),
        subject: first_line(&message),
    })
}

fn pull_request(event: PullRequestEvent) -> Result<Heard, &'static str> {
    let request = event.pull_request;
    if event.action != "closed" || !request.merged {
        return Ok(Heard::Nothing("ignored: nothing was merged"));
    }
    let who = request.merged_by.or(event.sender);
    moved(Moved {
        event: WebhookEvent::Merge,
        repository: event.repository.full_name,
        branch: request.base.r#ref,
        commit: request.merge_commit_sha.unwrap_or_default(),
        who: who.map(|sender| sender.login).unwrap_or_default(),
        subject: first_line(&request.title),
    })
}

fn moved(moved: Moved) -> Result<Heard, &'static str> {
    match is_commit(&moved.commit) {
        true => Ok(Heard::Moved(moved)),
        false => Err("it names no commit"),
    }
}

//! What GitLab says in its push, tag and merge request events. Pure.
//!
//! Docs: "Webhook events".

use super::{Heard, Moved, WebhookEvent, first_line, is_commit, one, reference};
use hyper::header::HeaderMap;
use serde::Deserialize;

#[derive(Deserialize)]
struct Push {
    object_kind: String,
    r#ref: String,
    /// The commit, also for a tag with a message; nothing where it was deleted.
    checkout_sha: Option<String>,
    #[serde(default)]
    user_username: Option<String>,
    #[serde(default)]
    user_name: Option<String>,
    project: Project,
    #[serde(default)]
    commits: Vec<Commit>,
}

#[derive(Deserialize)]
struct Project {
    path_with_namespace: String,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct MergeRequestEvent {
    object_kind: String,
    user: Option<User>,
    project: Project,
    object_attributes: MergeRequest,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct MergeRequest {
    target_branch: String,
    #[serde(default)]
    title: String,
    /// Absent where a test of the webhook sends it.
    action: Option<String>,
    merge_commit_sha: Option<String>,
    squash_commit_sha: Option<String>,
    last_commit: Option<Commit>,
}

/// Reads a verified request.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Heard, &'static str> {
    let event = one(headers, "x-gitlab-event")?.ok_or("X-Gitlab-Event is missing")?;
    match event {
        "Push Hook" => push(parse(body)?, "push"),
        "Tag Push Hook" => push(parse(body)?, "tag_push"),
        "Merge Request Hook" => merge_request(parse(body)?),
        _ => Ok(Heard::Nothing(
            "ignored: only pushes, tags and merge requests start anything",
        )),
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, &'static str> {
    serde_json::from_slice(body).map_err(|_| "the body is not the JSON of that event")
}

fn push(push: Push, kind: &str) -> Result<Heard, &'static str> {
    if push.object_kind != kind {
        return Err("the body is of another event than the header says");
    }
    let Some((event, name)) = reference(&push.r#ref) else {
        return Ok(Heard::Nothing("ignored: neither a branch nor a tag"));
    };
    let Some(commit) = push.checkout_sha else {
        return Ok(Heard::Nothing("ignored: it was deleted"));
    };
    let head = push.commits.iter().find(|candidate| candidate.id == commit);
    let subject = head.map(|head| first_line(&head.message));
    let who = push.user_username.or(push.user_name);
    moved(Moved {
        event,
        repository: push.project.path_with_namespace,
        branch: name.to_owned(),
        commit,
        who: who.unwrap_or_default(),
        subject: subject.unwrap_or_default(),
    })
}

fn merge_request(event: MergeRequestEvent) -> Result<Heard, &'static str> {
    if event.object_kind != "merge_request" {
        return Err("the body is of another event than the header says");
    }
    let request = event.object_attributes;
    if request.action.as_deref() != Some("merge") {
        return Ok(Heard::Nothing("ignored: nothing was merged"));
    }
    // A merge that only moved the branch forward made no commit of its own.
    let commit = request.merge_commit_sha.or(request.squash_commit_sha);
    let commit = commit.or(request.last_commit.map(|last| last.id));
    moved(Moved {
        event: WebhookEvent::Merge,
        repository: event.project.path_with_namespace,
        branch: request.target_branch,
        commit: commit.unwrap_or_default(),
        who: event.user.map(|user| user.username).unwrap_or_default(),
        subject: first_line(&request.title),
    })
}

fn moved(moved: Moved) -> Result<Heard, &'static str> {
    match is_commit(&moved.commit) {
        true => Ok(Heard::Moved(moved)),
        false => Err("it names no commit"),
    }
}

use super::*;
use hmac::{Hmac, Mac};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const SECRET: &str = "hunter2-of-github";
const TOKEN: &str = "hunter2-of-gitlab";
const COMMIT: &str = "6dcb09b5b57875f334f61aebed695e2e4193db5e";

/// GitHub's documented event `push`, shortened.
fn push(reference: &str) -> serde_json::Value {
    serde_json::json!({
        "ref": reference,
        "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "after": COMMIT,
        "created": false, "deleted": false, "forced": false, "base_ref": null,
        "compare": "https://github.com/Codertocat/Hello-World/compare/6113728f27ae...6dcb09b5b578",
        "commits": [],
        "head_commit": {
            "id": COMMIT,
            "message": "Fix all the bugs\n\nin one go",
            "author": { "name": "Monalisa Octocat", "email": "mona@example.com" }
        },
        "repository": { "id": 186_853_002, "name": "Hello-World", "full_name": "Codertocat/Hello-World" },
        "pusher": { "name": "Codertocat", "email": "21031067+Codertocat@users.noreply.github.com" },
        "sender": { "login": "Codertocat", "id": 21_031_067 }
    })
}

/// GitHub's documented event `pull_request`, shortened.
fn pull_request(action: &str, merged: bool) -> serde_json::Value {
    serde_json::json!({
        "action": action, "number": 2,
        "pull_request": {
            "number": 2, "state": "closed", "title": "Update the README with new information.",
            "merged": merged, "merge_commit_sha": COMMIT,
            "merged_by": { "login": "Hubot" },
            "head": { "ref": "changes", "sha": "ec26c3e57ca3a959ca5aad62de7213c562f8c821" },
            "base": { "ref": "main", "sha": "f95f852bd8fca8fcc58a9a2d6c842781e32a215e" }
        },
        "repository": { "full_name": "Codertocat/Hello-World" },
        "sender": { "login": "Codertocat" }
    })
}

/// GitLab's documented push and tag events, shortened.
fn gitlab_push(kind: &str, reference: &str, commit: Option<&str>) -> serde_json::Value {
    serde_json::json!({
        "object_kind": kind, "event_name": kind,
        "before": "95790bf891e76fee5e1747ab589903a6a1f80f22",
        "after": commit.unwrap_or("0000000000000000000000000000000000000000"),
        "ref": reference, "ref_protected": true, "checkout_sha": commit,
        "user_id": 4, "user_name": "John Smith", "user_username": "jsmith",
        "project_id": 15,
        "project": { "id": 15, "name": "Diaspora", "path_with_namespace": "mike/diaspora", "default_branch": "master" },
        "commits": [
            { "id": "b6568db1bc1dcd7f8b4d5a946b0b91f9dacd7327", "message": "Update Catalan translation." },
            { "id": COMMIT, "message": "fixed readme\u{202e}\n\nmore" }
        ],
        "total_commits_count": 4
    })
}

/// GitLab's documented merge request event, shortened.
fn gitlab_merge(action: Option<&str>, merge_commit: Option<&str>) -> serde_json::Value {
    serde_json::json!({
        "object_kind": "merge_request", "event_type": "merge_request",
        "user": { "id": 1, "name": "Administrator", "username": "root" },
        "project": { "id": 1, "path_with_namespace": "mike/diaspora" },
        "object_attributes": {
            "iid": 1, "target_branch": "main", "source_branch": "ms-viewport",
            "title": "MS-Viewport", "state": "merged", "action": action,
            "merge_commit_sha": merge_commit, "squash_commit_sha": null,
            "last_commit": { "id": COMMIT, "message": "fixed readme" }
        }
    })
}

fn rule(provider: Provider, pipeline: &str, branches: &[&str], tags: &[&str]) -> WebhookRule {
    let (repository, secret) = match provider {
        Provider::Github => ("codertocat/hello-world", SECRET),
        Provider::Gitlab => ("mike/diaspora", TOKEN),
    };
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    WebhookRule {
        provider,
        repository: repository.to_owned(),
        secrets: vec![
            Secret::new("the-old-one".to_owned()),
            Secret::new(secret.to_owned()),
        ],
        pipeline: pipeline.parse().expect("a name"),
        environment: None,
        events: [WebhookEvent::Push, WebhookEvent::Tag, WebhookEvent::Merge].into(),
        branches: texts(branches),
        tags: texts(tags),
    }
}

fn rules() -> Vec<WebhookRule> {
    vec![
        rule(Provider::Github, "shop", &["main", "release/*"], &["v*"]),
        rule(Provider::Github, "audit", &["main"], &[]),
        rule(Provider::Gitlab, "diaspora", &["main", "master"], &["v*.*"]),
    ]
}

/// A listener whose starts are remembered.
struct Listening {
    address: SocketAddr,
    asked: mpsc::Receiver<TriggerAsked>,
    _stop: oneshot::Sender<()>,
}

async fn listen(limits: WebhookLimits, answer: Started) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let (tell, asked) = mpsc::channel(64);
    let (stop, stopped) = oneshot::channel::<()>();
    let settings = WebhookSettings {
        rules: rules(),
        limits,
    };
    let start = move |trigger: TriggerAsked| {
        tell.try_send(trigger).expect("room");
        let answer = answer.clone();
        async move { answer }
    };
    tokio::spawn(serve(listener, settings, start, async move {
        let _ = stopped.await;
    }));
    Listening {
        address,
        asked,
        _stop: stop,
    }
}

async fn usual() -> Listening {
    listen(WebhookLimits::usual(), Started::Begun(RunNumber(12))).await
}

fn signature(body: &[u8], secret: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(body);
    let bytes = mac.finalize().into_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// What goes over the wire.
struct Sent {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Sent {
    fn github(event: &str, body: &serde_json::Value) -> Self {
        let body = body.to_string().into_bytes();
        let headers = vec![
            ("X-GitHub-Event", event.to_owned()),
            (
                "X-GitHub-Delivery",
                "72d3162e-cc78-11e3-81ab-4c9367dc0958".to_owned(),
            ),
            ("X-Hub-Signature-256", signature(&body, SECRET)),
        ];
        Self {
            path: "/webhook/github",
            headers,
            body,
        }
    }

    fn gitlab(event: &str, body: &serde_json::Value) -> Self {
        let headers = vec![
            ("X-Gitlab-Event", event.to_owned()),
            (
                "Idempotency-Key",
                "f5e5f430-f57b-4e6e-9fac-d9128cd7232f".to_owned(),
            ),
            ("X-Gitlab-Token", TOKEN.to_owned()),
        ];
        Self {
            path: "/webhook/gitlab",
            headers,
            body: body.to_string().into_bytes(),
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(there, _)| *there != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(there, _)| *there != name);
        self
    }

    fn head(&self, length: usize) -> String {
        let headers = self.headers.iter();
        let headers: String = headers
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let path = self.path;
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{headers}\r\n")
    }

    async fn to(&self, address: SocketAddr) -> (u16, String) {
        let mut bytes = self.head(self.body.len()).into_bytes();
        bytes.extend_from_slice(&self.body);
        send(address, &bytes).await
    }
}

/// Sends bytes, and gives back the status and the whole answer.
async fn send(address: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(bytes).await.expect("sent");
    answer(stream).await
}

async fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes));
    read.await.expect("an end").expect("an answer");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.unwrap_or(0), text)
}

#[tokio::test]
async fn documented_events_ask_for_the_pipelines_whose_rules_fit() {
    let github = |event: &str, body| Sent::github(event, &body);
    let gitlab = |event: &str, body| Sent::gitlab(event, &body);
    for (sent, pipelines, branch) in [
        (
            github("push", push("refs/heads/main")),
            &["shop"][..],
            "main",
        ),
        (
            github("push", push("refs/heads/release/1.2")),
            &["shop"],
            "release/1.2",
        ),
        (github("push", push("refs/tags/v1.2")), &["shop"], "v1.2"),
        (
            github("pull_request", pull_request("closed", true)),
            &["shop"],
            "main",
        ),
        (
            gitlab(
                "Push Hook",
                gitlab_push("push", "refs/heads/master", Some(COMMIT)),
            ),
            &["diaspora"],
            "master",
        ),
        (
            gitlab(
                "Tag Push Hook",
                gitlab_push("tag_push", "refs/tags/v1.0.0", Some(COMMIT)),
            ),
            &["diaspora"],
            "v1.0.0",
        ),
        (
            gitlab(
                "Merge Request Hook",
                gitlab_merge(Some("merge"), Some(COMMIT)),
            ),
            &["diaspora"],
            "main",
        ),
        (
            gitlab("Merge Request Hook", gitlab_merge(Some("merge"), None)),
            &["diaspora"],
            "main",
        ),
    ] {
        let mut listening = usual().await;
        let (status, text) = sent.to(listening.address).await;
        assert_eq!(status, 200, "{text}");
        assert!(text.contains("began p12"), "{text}");
        for pipeline in pipelines {
            let asked = listening.asked.try_recv().expect("asked");
            assert_eq!(asked.pipeline.as_str(), *pipeline);
            assert_eq!(
                (asked.branch.as_str(), asked.commit.as_str()),
                (branch, COMMIT)
            );
            assert!(!asked.who.is_empty() && asked.delivery.as_str().contains('-'));
            let trigger = asked.trigger();
            assert_eq!(
                trigger.revision.as_str(),
                COMMIT,
                "the commit, whatever moves later"
            );
            assert_eq!(trigger.request_id, Some(asked.request_id));
        }
        assert!(
            listening.asked.try_recv().is_err(),
            "nothing more is asked for"
        );
    }
}

#[tokio::test]
async fn what_is_said_is_cleaned_and_short() {
    let mut listening = usual().await;
    let sent = Sent::gitlab(
        "Push Hook",
        &gitlab_push("push", "refs/heads/master", Some(COMMIT)),
    );
    sent.to(listening.address).await;
    let asked = listening.asked.try_recv().expect("asked");
    assert_eq!(asked.subject.as_str(), "fixed readme<U+202E>");
    assert_eq!(asked.who.as_str(), "jsmith");
    let reason = asked.trigger().reason.expect("there");
    assert_eq!(reason.as_str(), "jsmith: fixed readme<U+202E>");
}

#[tokio::test]
async fn fault_136_who_does_not_know_the_secret_learns_and_starts_nothing() {
    let mut listening = usual().await;
    let good = || Sent::github("push", &push("refs/heads/main"));
    let gitlab = || {
        Sent::gitlab(
            "Push Hook",
            &gitlab_push("push", "refs/heads/master", Some(COMMIT)),
        )
    };
    let signed_by = |secret: &str| {
        let sent = good();
        let signature = signature(&sent.body, secret);
        sent.with("X-Hub-Signature-256", &signature)
    };
    let sha1 = "sha1=d03207e4b030cf234e3447bac4d93add4c6643d8";
    let mut changed = good();
    changed.body.extend_from_slice(b" ");
    let mut twice = good();
    twice
        .headers
        .push(("X-Hub-Signature-256", signature(&twice.body, SECRET)));
    let mut crossed = good();
    crossed.path = "/webhook/gitlab";
    for (name, sent) in [
        ("missing", good().without("X-Hub-Signature-256")),
        (
            "sha1 alone",
            good()
                .without("X-Hub-Signature-256")
                .with("X-Hub-Signature", sha1),
        ),
        (
            "sha1 in its place",
            good().with("X-Hub-Signature-256", sha1),
        ),
        ("other secret", signed_by("another")),
        ("the other provider's", signed_by(TOKEN)),
        ("changed body", changed),
        ("twice", twice),
        ("other door", crossed),
        (
            "wrong token",
            gitlab().with("X-Gitlab-Token", "hunter2-of-gitlaB"),
        ),
        ("no token", gitlab().without("X-Gitlab-Token")),
    ] {
        let (status, text) = sent.to(listening.address).await;
        assert_eq!(status, 401, "{name}: {text}");
        assert!(
            text.ends_with(r#"{"answer":"not verified"}"#),
            "{name}: {text}"
        );
    }
    assert!(listening.asked.try_recv().is_err(), "nothing was asked for");
    assert_eq!(
        signed_by("the-old-one").to(listening.address).await.0,
        200,
        "while it is replaced"
    );
}

#[tokio::test]
async fn fault_136_what_is_verified_and_means_nothing_starts_nothing() {
    let mut listening = usual().await;
    let mut deleted = push("refs/heads/main");
    deleted["deleted"] = true.into();
    deleted["head_commit"] = serde_json::Value::Null;
    let mut nowhere = push("refs/heads/main");
    nowhere["head_commit"]["id"] = "../../etc".into();
    let mut elsewhere = push("refs/heads/main");
    elsewhere["repository"]["full_name"] = "somebody/else".into();
    let github = |event: &str, body: &serde_json::Value| Sent::github(event, body);
    let text = serde_json::json!("payload=%7B%7D");
    let twice = |name: &'static str| {
        let mut sent = Sent::github("push", &push("refs/heads/main"));
        sent.headers.push((name, "push".to_owned()));
        sent
    };
    for (sent, status, word) in [
        (
            github("ping", &serde_json::json!({ "zen": "Speak like a human." })),
            200,
            "pong",
        ),
        (github("push", &deleted), 200, "deleted"),
        (github("push", &push("refs/heads/topic")), 200, "no rule"),
        (github("push", &push("refs/notes/x")), 200, "neither"),
        (github("push", &elsewhere), 200, "no rule"),
        (github("push", &nowhere), 400, "no commit"),
        (github("push", &text), 400, "not the JSON"),
        (github("issues", &push("refs/heads/main")), 200, "only push"),
        (
            github("pull_request", &pull_request("closed", false)),
            200,
            "merged",
        ),
        (
            github("pull_request", &pull_request("opened", false)),
            200,
            "merged",
        ),
        (
            github("pull_request", &push("refs/heads/main")),
            400,
            "not the JSON",
        ),
        (
            github("push", &push("refs/heads/main")).without("X-GitHub-Event"),
            400,
            "missing",
        ),
        (twice("X-GitHub-Event"), 400, "twice"),
        (twice("X-GitHub-Delivery"), 400, "twice"),
        (
            Sent::gitlab("Push Hook", &gitlab_push("push", "refs/heads/master", None)),
            200,
            "deleted",
        ),
        (
            Sent::gitlab(
                "Push Hook",
                &gitlab_push("tag_push", "refs/tags/v1.0", Some(COMMIT)),
            ),
            400,
            "another event",
        ),
        (
            Sent::gitlab("Merge Request Hook", &gitlab_merge(Some("open"), None)),
            200,
            "merged",
        ),
        (
            Sent::gitlab("Merge Request Hook", &gitlab_merge(None, None)),
            200,
            "merged",
        ),
        (
            Sent::gitlab("Pipeline Hook", &gitlab_merge(None, None)),
            200,
            "only pushes",
        ),
    ] {
        let (got, text) = sent.to(listening.address).await;
        assert_eq!(got, status, "{word}: {text}");
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(listening.asked.try_recv().is_err(), "nothing was asked for");
}

#[tokio::test]
async fn fault_136_a_replay_has_the_same_request_id_under_any_deliverys_name() {
    let mut listening = usual().await;
    let sent = || Sent::github("push", &push("refs/heads/release/1"));
    sent().to(listening.address).await;
    sent()
        .with("X-GitHub-Delivery", "another")
        .to(listening.address)
        .await;
    let (first, replay) = (listening.asked.try_recv(), listening.asked.try_recv());
    let (first, replay) = (first.expect("asked"), replay.expect("asked"));
    assert_eq!(first.request_id, replay.request_id);
    assert_ne!(first.delivery, replay.delivery);
    assert!(first.request_id.as_str().starts_with("github:"));
    let mut other = push("refs/heads/release/1");
    other["before"] = "another".into();
    Sent::github("push", &other).to(listening.address).await;
    let other = listening.asked.try_recv().expect("asked");
    assert_ne!(other.request_id, first.request_id);
    // GitLab may send the same body with a meaning.
    let body = gitlab_push("push", "refs/heads/master", Some(COMMIT));
    let gitlab = || Sent::gitlab("Push Hook", &body);
    for sent in [
        gitlab(),
        gitlab(),
        gitlab().with("Idempotency-Key", "another"),
    ] {
        sent.to(listening.address).await;
    }
    let ids = [0; 3].map(|_| listening.asked.try_recv().expect("asked").request_id);
    assert!(ids[0] == ids[1] && ids[1] != ids[2]);
}

#[tokio::test]
async fn fault_136_huge_bodies_are_refused_before_they_are_read() {
    let mut listening = usual().await;
    let sent = Sent::github("push", &push("refs/heads/main"));
    let (status, _) = send(listening.address, sent.head(100_000_000).as_bytes()).await;
    assert_eq!(status, 413);
    // One that does not say how long it is.
    let head = sent
        .head(0)
        .replace("content-length: 0", "transfer-encoding: chunked");
    let mut stream = TcpStream::connect(listening.address)
        .await
        .expect("connected");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut written = 0;
    while written < 64 * 1024 * 1024 && stream.write_all(chunk.as_bytes()).await.is_ok() {
        written += chunk.len();
    }
    assert!(
        written < 64 * 1024 * 1024,
        "it was cut off after {written} bytes"
    );
    let header = format!(
        "POST /webhook/github HTTP/1.1\r\nx: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    let (status, text) = send(listening.address, header.as_bytes()).await;
    assert_eq!(status, 431, "{text}");
    assert!(listening.asked.try_recv().is_err());
}

#[tokio::test]
async fn fault_136_slow_senders_are_cut_off_and_others_are_turned_away_meanwhile() {
    let limits = WebhookLimits {
        request_ms: 2_000,
        connections_max: 2,
        ..WebhookLimits::usual()
    };
    let mut listening = listen(limits, Started::Begun(RunNumber(1))).await;
    let sent = Sent::github("push", &push("refs/heads/main"));
    let mut slow_body = TcpStream::connect(listening.address)
        .await
        .expect("connected");
    slow_body
        .write_all(sent.head(1_000).as_bytes())
        .await
        .expect("sent");
    let mut slow_head = TcpStream::connect(listening.address)
        .await
        .expect("connected");
    slow_head.write_all(b"POST /webhook").await.expect("sent");
    let third = TcpStream::connect(listening.address)
        .await
        .expect("connected");
    assert_eq!(answer(third).await.0, 503, "both places are taken");
    let (status, text) = answer(slow_body).await;
    assert_eq!(status, 408, "{text}");
    // Whether hyper says 408 or closes, it ends.
    let (status, _) = answer(slow_head).await;
    assert!(matches!(status, 0 | 408), "{status}");
    let (status, _) = sent.to(listening.address).await;
    assert_eq!(status, 200, "the places are free again");
    assert!(listening.asked.try_recv().is_ok());
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_again() {
    let limits = WebhookLimits {
        per_sender: 2,
        ..WebhookLimits::usual()
    };
    let mut listening = listen(limits, Started::Begun(RunNumber(1))).await;
    let sent = Sent::github("push", &push("refs/tags/v1"));
    for _ in 0..2 {
        assert_eq!(sent.to(listening.address).await.0, 200);
    }
    let (status, text) = sent.to(listening.address).await;
    assert_eq!(status, 429);
    assert!(text.to_lowercase().contains("retry-after: "), "{text}");
    let asked = [0; 3].map(|_| listening.asked.try_recv().is_ok());
    assert_eq!(asked, [true, true, false]);
}

#[tokio::test]
async fn the_engines_answer_is_handed_on() {
    for (answer, status, word) in [
        (Started::Already(RunNumber(7)), 200, "already began p7"),
        (
            Started::Refused(Clean::new("a freeze")),
            409,
            "refused: a freeze",
        ),
        (
            Started::Unavailable(Clean::new("stopping")),
            503,
            "stopping",
        ),
    ] {
        let listening = listen(WebhookLimits::usual(), answer).await;
        let sent = Sent::github("push", &push("refs/tags/v1"));
        let (got, text) = sent.to(listening.address).await;
        assert_eq!(got, status, "{text}");
        assert!(text.contains(word), "{text}");
    }
    let listening = usual().await;
    let (status, _) = send(
        listening.address,
        b"GET /webhook/github HTTP/1.1\r\nhost: x\r\n\r\n",
    )
    .await;
    assert_eq!(status, 405);
    let (status, _) = send(
        listening.address,
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn fault_137_nothing_but_a_start_can_be_asked_for() {
    let mut listening = usual().await;
    let mut crafted = push("refs/heads/main");
    for (name, value) in [
        ("action", "promote"),
        ("environment", "production"),
        ("command", "approve"),
    ] {
        crafted[name] = value.into();
    }
    for event in [
        "deployment",
        "deployment_review",
        "deployment_status",
        "repository_dispatch",
        "workflow_dispatch",
    ] {
        let (status, text) = Sent::github(event, &crafted).to(listening.address).await;
        assert!(status == 200 && text.contains("ignored"), "{event}: {text}");
    }
    for path in ["/webhook/github/promote", "/promote", "/webhook/approve"] {
        let mut sent = Sent::github("push", &crafted);
        sent.path = path;
        assert_eq!(sent.to(listening.address).await.0, 404, "{path}");
    }
    assert!(listening.asked.try_recv().is_err(), "nothing was asked for");
    Sent::github("push", &crafted).to(listening.address).await;
    let asked = listening.asked.try_recv().expect("asked");
    assert_eq!(asked.environment, None, "the rule says how far it goes");
}

#[tokio::test]
async fn a_merge_that_is_told_twice_starts_one_run_and_a_branch_may_be_moved_back() {
    let mut listening = usual().await;
    let moved = push("refs/heads/main");
    let pushed = || Sent::github("push", &moved);
    let merged = Sent::github("pull_request", &pull_request("closed", true));
    pushed().to(listening.address).await;
    let (status, text) = merged.to(listening.address).await;
    assert!(status == 200 && text.contains("said so already"), "{text}");
    pushed().to(listening.address).await;
    let asked = [0; 3].map(|_| listening.asked.try_recv().is_ok());
    assert_eq!(asked, [true, true, false], "the pushes");

    let mut refused = listen(
        WebhookLimits::usual(),
        Started::Refused(Clean::new("a freeze")),
    )
    .await;
    pushed().to(refused.address).await;
    assert_eq!(merged.to(refused.address).await.0, 409);
    let asked = [0; 3].map(|_| refused.asked.try_recv().is_ok());
    assert_eq!(
        asked,
        [true, true, false],
        "what did not begin may be told again"
    );
}

#[test]
fn patterns_are_about_the_whole_name() {
    for (pattern, text, like) in [
        ("main", "main", true),
        ("main", "mainly", false),
        ("release/*", "release/1.2", true),
        ("release/*", "release", false),
        ("*", "anything/at/all", true),
        ("v*.*", "v1.0", true),
        ("v*.*", "v10", false),
        ("*-rc*", "v1-rc2", true),
        ("a*a", "a", false),
        ("a*b*c", "aXcbYc", true),
        ("", "", true),
        ("", "main", false),
    ] {
        assert_eq!(is_like(pattern, text), like, "{pattern} {text}");
    }
}

//! A GitHub and a GitLab on loopback, which report what a test says.

use crate::support::{Place, passed, until, why};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use wheelhouse::model::Clean;
use wheelhouse::model::pipeline::{ExternalWork, Provider, StageCall, StageWork};
use wheelhouse::ports::Stages;

const COMMIT: &str = "6dcb09b5b57875f334f61aebed695e2e4193db5e";
const TOKEN: &str = "hunter2-token";

/// One answer: status, headers, body.
type Answer = (u16, Vec<(&'static str, String)>, Value);

/// What a part of the address is answered, one after the other.
type Queue = (&'static str, VecDeque<Answer>);

/// Answers each path from its own list; the last answer stays.
#[derive(Clone, Default)]
struct Peer {
    answers: Arc<Mutex<Vec<Queue>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn says(&self, part: &'static str, answers: impl IntoIterator<Item = Answer>) {
        let mut all = self.answers.lock().expect("no panic");
        all.push((part, answers.into_iter().collect()));
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }

    fn answer(&self, uri: &str) -> Answer {
        self.asked.lock().expect("no panic").push(uri.to_owned());
        let mut all = self.answers.lock().expect("no panic");
        let found = all.iter_mut().find(|(part, _)| uri.contains(part));
        let Some((_, answers)) = found else {
            return (404, vec![], json!({ "message": "Not Found" }));
        };
        match answers.len() {
            0 | 1 => answers
                .front()
                .cloned()
                .unwrap_or((500, vec![], Value::Null)),
            _ => answers.pop_front().expect("two at least"),
        }
    }

    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let peer = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let peer = peer.clone();
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let answer = match request.headers().get("authorization") {
                        Some(value) if value == format!("Bearer {TOKEN}").as_str() => {
                            peer.answer(&request.uri().to_string())
                        }
                        _ => (401, vec![], json!({ "message": "Bad credentials" })),
                    };
                    async move { Ok::<_, Infallible>(response(answer)) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        format!("http://{address}")
    }
}

fn response((status, headers, body): Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(name, value.parse().expect("a value"));
    }
    response
}

fn ok(body: Value) -> Answer {
    (200, vec![], body)
}

/// A combined status, as GitHub documents it.
fn statuses(contexts: &[(&str, &str)]) -> Answer {
    let of = |(context, state): &(&str, &str)| {
        json!({ "context": context, "state": state, "id": 1, "description": "",
                "target_url": format!("https://ci.example.com/{context}") })
    };
    let statuses: Vec<Value> = contexts.iter().map(of).collect();
    ok(
        json!({ "state": "pending", "sha": COMMIT, "total_count": statuses.len(), "statuses": statuses }),
    )
}

/// Check runs, as GitHub documents them: name, status, conclusion.
fn checks(runs: &[(u64, &str, &str, Option<&str>)]) -> Answer {
    let of = |(id, name, status, conclusion): &(u64, &str, &str, Option<&str>)| {
        json!({ "id": id, "name": name, "status": status, "conclusion": conclusion, "head_sha": COMMIT,
                "html_url": format!("https://github.com/octocat/shop/runs/{id}"),
                "details_url": "https://example.com", "app": { "id": 1, "slug": "octoapp" } })
    };
    let runs: Vec<Value> = runs.iter().map(of).collect();
    ok(json!({ "total_count": runs.len(), "check_runs": runs }))
}

/// Commit statuses, as GitLab documents them: id, name, status, allow_failure.
fn jobs(jobs: &[(u64, &str, &str, bool)]) -> Value {
    let of = |(id, name, status, allow_failure): &(u64, &str, &str, bool)| {
        json!({ "id": id, "sha": COMMIT, "ref": "main", "name": name, "status": status,
                "allow_failure": allow_failure, "pipeline_id": 8,
                "target_url": format!("https://gitlab.example.com/jobs/{id}") })
    };
    Value::Array(jobs.iter().map(of).collect())
}

fn call(place: &Place, provider: Provider, url: &str, contexts: &[&str]) -> StageCall {
    std::fs::write(place.path("token"), TOKEN).expect("written");
    let token = format!("file:{}", place.path("token").display());
    let mut call = place.call(
        "ci",
        StageWork::External(ExternalWork {
            provider,
            url: url.to_owned(),
            project: "octocat/shop".to_owned(),
            contexts: contexts.iter().map(ToString::to_string).collect(),
            token: Some(token.parse().expect("a reference")),
            interval_ms: 1_000,
        }),
    );
    call.revision = Clean::new(COMMIT);
    call
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_is_waited_for_until_every_named_context_succeeded() {
    let (place, peer) = (Place::open(), Peer::default());
    peer.says(
        "/status",
        [
            statuses(&[("ci/build", "pending"), ("noise", "failure")]),
            statuses(&[("ci/build", "success"), ("noise", "failure")]),
        ],
    );
    peer.says(
        "/check-runs",
        [
            checks(&[
                (1, "test", "completed", Some("failure")),
                (2, "test", "in_progress", None),
            ]),
            checks(&[
                (1, "test", "completed", Some("failure")),
                (2, "test", "completed", Some("success")),
            ]),
        ],
    );
    let url = peer.listen().await;
    let result = place
        .stages
        .run(call(&place, Provider::Github, &url, &["ci/build", "test"]))
        .await;
    assert_eq!(passed(&result)["url"], "https://ci.example.com/ci/build");
    let asked = peer.asked();
    assert!(
        asked[0].starts_with(&format!("/repos/octocat/shop/commits/{COMMIT}/status?")),
        "{asked:?}"
    );
    assert!(
        asked[1].contains(&format!("/commits/{COMMIT}/check-runs?filter=latest")),
        "{asked:?}"
    );
    let output = place.output("ci").await.join("\n");
    assert!(
        output.contains("pending: ci/build, test") && !output.contains("hunter2"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_context_fails_at_once_and_says_where() {
    for (statuses, checks, contexts, said) in [
        (
            statuses(&[("ci/build", "error")]),
            checks(&[]),
            &["ci/build", "x"][..],
            "ci/build: error (https://ci.example.com/ci/build)",
        ),
        (
            statuses(&[]),
            checks(&[(7, "test", "completed", Some("timed_out"))]),
            &[],
            "test: timed_out (https://github.com/octocat/shop/runs/7)",
        ),
        (
            statuses(&[]),
            checks(&[(7, "test", "completed", Some("cancelled"))]),
            &["test"],
            "test: cancelled",
        ),
    ] {
        let (place, peer) = (Place::open(), Peer::default());
        peer.says("/status", [statuses]);
        peer.says("/check-runs", [checks]);
        let url = peer.listen().await;
        let result = place
            .stages
            .run(call(&place, Provider::Github, &url, contexts))
            .await;
        assert!(why(&result).contains(said), "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_report_is_never_a_pass() {
    let cases = [
        (
            statuses(&[]),
            checks(&[]),
            &[][..],
            "nothing is reported for the commit",
        ),
        (
            statuses(&[("a", "success")]),
            checks(&[]),
            &["a", "b"],
            "not reported: b",
        ),
        (
            statuses(&[]),
            checks(&[(1, "t", "queued", None)]),
            &[],
            "pending: t",
        ),
        (
            statuses(&[]),
            checks(&[(1, "t", "completed", Some("skipped"))]),
            &[],
            "nothing that judged the commit",
        ),
        (
            (404, vec![], Value::Null),
            checks(&[]),
            &["a"],
            "does not know the project or the commit",
        ),
        (
            (502, vec![], Value::Null),
            checks(&[]),
            &["a"],
            "answered 502",
        ),
        (
            ok(json!({ "unexpected": true })),
            checks(&[]),
            &["a"],
            "is not understood",
        ),
    ];
    let tried = cases.map(|(statuses, checks, contexts, said)| async move {
        let (place, peer) = (Place::open(), Peer::default());
        peer.says("/status", [statuses]);
        peer.says("/check-runs", [checks]);
        let url = peer.listen().await;
        let mut call = call(&place, Provider::Github, &url, contexts);
        call.timeout_ms = 5_000;
        let result = place.stages.run(call).await;
        assert!(why(&result).contains(said), "{said}: {result:?}");
        assert!(why(&result).contains("not judged within"), "{result:?}");
    });
    futures::future::join_all(tried).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_there_are_must_be_seen_twice_and_may_be_many() {
    let (place, peer) = (Place::open(), Peer::default());
    let early = checks(&[(1, "lint", "completed", Some("success"))]);
    let late = checks(&[
        (1, "lint", "completed", Some("success")),
        (2, "test", "completed", Some("failure")),
    ]);
    peer.says("/status", [statuses(&[])]);
    peer.says("/check-runs", [early, late]);
    let url = peer.listen().await;
    let result = place
        .stages
        .run(call(&place, Provider::Github, &url, &[]))
        .await;
    assert!(why(&result).starts_with("test: failure"), "{result:?}");

    let (place, peer) = (Place::open(), Peer::default());
    let page = |from: usize, to: usize| {
        let of = |n| json!({ "context": format!("c{n}"), "state": "success", "target_url": null });
        let page: Vec<Value> = (from..to).map(of).collect();
        ok(json!({ "state": "success", "total_count": 150, "statuses": page }))
    };
    peer.says("page=2", [page(100, 150)]);
    peer.says("/status", [page(0, 100)]);
    peer.says("/check-runs", [checks(&[])]);
    let url = peer.listen().await;
    let result = place
        .stages
        .run(call(&place, Provider::Github, &url, &["c7", "c149"]))
        .await;
    assert!(passed(&result).is_empty(), "it has no address");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gitlab_is_asked_by_its_pages_and_the_newest_job_of_a_name_counts() {
    let (place, peer) = (Place::open(), Peer::default());
    let first = jobs(&[(1, "test", "failed", false), (2, "lint", "failed", true)]);
    let second = jobs(&[(3, "test", "success", false), (4, "deploy", "manual", true)]);
    peer.says(
        "page=2",
        [(200, vec![("x-next-page", String::new())], second)],
    );
    peer.says(
        "/statuses",
        [(200, vec![("x-next-page", "2".to_owned())], first)],
    );
    let url = peer.listen().await;
    let base = format!("{url}/api/v4");
    let result = place
        .stages
        .run(call(&place, Provider::Gitlab, &base, &[]))
        .await;
    assert_eq!(passed(&result)["url"], "https://gitlab.example.com/jobs/3");
    let asked = peer.asked();
    let path = format!("/api/v4/projects/octocat%2Fshop/repository/commits/{COMMIT}/statuses?");
    assert!(asked[0].starts_with(&path), "{asked:?}");

    let (place, peer) = (Place::open(), Peer::default());
    peer.says("/statuses", [ok(jobs(&[(1, "test", "canceled", false)]))]);
    let url = peer.listen().await;
    let result = place
        .stages
        .run(call(&place, Provider::Gitlab, &url, &["test"]))
        .await;
    assert!(
        why(&result).starts_with("test: canceled (https://gitlab"),
        "{result:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_waited_out_and_said_and_a_wrong_token_ends_it() {
    let (place, peer) = (Place::open(), Peer::default());
    let limited = (
        429,
        vec![("retry-after", "2".to_owned())],
        json!({ "message": "slow down" }),
    );
    peer.says("/status", [limited, statuses(&[("a", "success")])]);
    peer.says("/check-runs", [checks(&[])]);
    let url = peer.listen().await;
    let result = place
        .stages
        .run(call(&place, Provider::Github, &url, &["a"]))
        .await;
    passed(&result);
    let output = place.output("ci").await.join("\n");
    assert!(
        output.contains("limits how often it may be asked; next in 2 s"),
        "{output}"
    );

    let call = call(&place, Provider::Github, &url, &["a"]);
    std::fs::write(place.path("token"), "wrong-token").expect("written");
    let result = place.stages.run(call.clone()).await;
    assert!(
        why(&result).contains("does not accept the token"),
        "{result:?}"
    );
    let mut early = call;
    early.revision = Clean::new("main");
    let result = place.stages.run(early).await;
    assert!(
        why(&result).contains("the checkout must come before"),
        "{result:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_is_canceled_at_once() {
    let (place, peer) = (Place::open(), Peer::default());
    peer.says("/status", [statuses(&[("a", "pending")])]);
    peer.says("/check-runs", [checks(&[])]);
    let url = peer.listen().await;
    let running = place
        .stages
        .run(call(&place, Provider::Github, &url, &["a"]));
    let stages = place.stages.clone();
    let stage = crate::support::name("ci");
    let canceled = async {
        let is_told = || {
            let line = stages.last_line(place.run, &stage);
            line.is_some_and(|line| line.as_str().contains("pending: a"))
        };
        until("it waits", is_told).await;
        stages.cancel(place.run, &stage);
    };
    let (result, ()) = tokio::join!(running, canceled);
    assert_eq!(result, wheelhouse::model::pipeline::StageResult::Canceled);
}

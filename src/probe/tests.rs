use super::*;
use crate::model::service::HttpCheck;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response as Answer};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// An instance that ends with its test.
struct Instance {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers every request with one status, header and body.
async fn answering(status: u16, location: &'static str, body: impl Into<Bytes>) -> Instance {
    let body = body.into();
    serving(move |_, _| {
        let answer = Answer::builder()
            .status(status)
            .header("location", location);
        answer.body(Full::new(body.clone())).expect("an answer")
    })
    .await
}

async fn serving<F>(answer: F) -> Instance
where
    F: Fn(hyper::http::request::Parts, Bytes) -> Answer<Full<Bytes>> + Clone + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.expect("a body").to_bytes();
                    Ok::<_, Infallible>(answer(parts, body))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    Instance { address, task }
}

/// Sends raw bytes to whoever connects, then keeps the connection open.
async fn raw(bytes: &'static [u8]) -> Instance {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
            open.push(stream);
        }
    });
    Instance { address, task }
}

fn expecting(json: &[(&str, Value)]) -> HttpCheck {
    HttpCheck {
        json: json
            .iter()
            .map(|(at, value)| ((*at).to_owned(), value.clone()))
            .collect(),
        ..HttpCheck::get("/readyz")
    }
}

fn check(json: &[(&str, Value)]) -> HealthCheck {
    of_kind(CheckKind::Http(expecting(json)))
}

fn of_kind(kind: CheckKind) -> HealthCheck {
    HealthCheck {
        kind,
        interval_ms: 2_000,
        timeout_ms: 30_000,
        successes: 1,
        failures: 1,
        start_timeout_ms: 1_000,
    }
}

fn smoke_request() -> HttpCheck {
    HttpCheck {
        method: "POST".to_owned(),
        path: "/orders?dry=1".to_owned(),
        headers: BTreeMap::from([("x-kind".to_owned(), "smoke".to_owned())]),
        body: Some("{\"item\":1}".to_owned()),
        status: 201,
        contains: Some("accepted".to_owned()),
        matches: Some(r#""total":\d"#.to_owned()),
        json: BTreeMap::from([("/total".to_owned(), json!(1))]),
    }
}

fn smoke_test(kind: CheckKind) -> SmokeTest {
    SmokeTest {
        name: "order".parse().expect("a name"),
        critical: true,
        kind,
        timeout_ms: 30_000,
        attempts: 1,
        retry_interval_ms: 0,
    }
}

fn server() -> ServerName {
    "web3".parse().expect("a name")
}

/// Where nobody listens, for checks by programs.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

async fn probe(address: SocketAddr, check: &HealthCheck) -> Result<(), Clean> {
    InstanceProbe::new().probe(&server(), address, check).await
}

/// Probes and returns the reason without the words that name the request.
async fn trouble(instance: &Instance, check: &HealthCheck) -> String {
    let error = probe(instance.address, check).await;
    let error = error.expect_err("an unhealthy answer").into_string();
    let shown = format!("GET http://{}/readyz: ", instance.address);
    error
        .strip_prefix(&shown)
        .unwrap_or_else(|| panic!("{error}"))
        .to_owned()
}

#[tokio::test]
async fn an_instance_is_healthy_by_status_and_named_values() {
    let body = r#"{"checks":{"database":"ok","depth":1.0},"extra":[true]}"#;
    let instance = answering(200, "", body).await;
    let wanted = [
        ("/checks/database", json!("ok")),
        ("/checks/depth", json!(1)),
    ];
    for wanted in [wanted.as_slice(), &[("/extra/0", json!(true))], &[]] {
        assert_eq!(probe(instance.address, &check(wanted)).await, Ok(()));
    }
}

#[tokio::test]
async fn every_part_that_is_wrong_is_named_with_what_was_expected() {
    let instance = answering(200, "", r#"{"checks":{"database":"down"}}"#).await;
    let wanted = check(&[("/checks/database", json!("ok"))]);
    assert_eq!(
        trouble(&instance, &wanted).await,
        r#"database is "down", not "ok""#
    );
    let wanted = check(&[
        ("/checks/cache/status", json!("up")),
        ("/checks/database", json!("ok")),
    ]);
    assert_eq!(
        trouble(&instance, &wanted).await,
        r#"cache is missing, not "up"; database is "down", not "ok""#
    );
}

#[tokio::test]
async fn a_wrong_status_fails_and_redirects_are_not_followed() {
    let instance = answering(503, "", "{}").await;
    assert_eq!(trouble(&instance, &check(&[])).await, "status 503, not 200");
    let healthy = answering(200, "", "{}").await;
    let target = format!("http://{}/", healthy.address);
    let instance = answering(302, Box::leak(target.into_boxed_str()), "").await;
    assert_eq!(trouble(&instance, &check(&[])).await, "status 302, not 200");
}

#[tokio::test]
async fn an_answer_that_is_no_json_or_too_long_fails() {
    let wanted = check(&[("/status", json!("ok"))]);
    let page = answering(200, "", "<html>").await;
    assert!(
        trouble(&page, &wanted)
            .await
            .starts_with("the body is no JSON (")
    );
    let huge = answering(200, "", vec![b' '; 10 * BODY_MAX]).await;
    assert_eq!(
        trouble(&huge, &wanted).await,
        "the body is longer than 65536 bytes"
    );
    let nested = answering(200, "", "[".repeat(10_000)).await;
    assert!(
        trouble(&nested, &wanted)
            .await
            .starts_with("the body is no JSON (")
    );
}

#[tokio::test]
async fn a_slow_answer_fails_at_the_timeout_wherever_it_stops() {
    let mut wanted = check(&[("/status", json!("ok"))]);
    wanted.timeout_ms = 150;
    for bytes in [
        b"".as_slice(),
        b"HTTP/1.1 200 OK\r\n".as_slice(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"status\":".as_slice(),
    ] {
        let instance = raw(bytes).await;
        assert_eq!(
            trouble(&instance, &wanted).await,
            "no whole answer within 150 ms"
        );
    }
}

#[tokio::test]
async fn an_absent_instance_is_told_in_plain_words() {
    let instance = answering(200, "", "").await;
    let address = instance.address;
    instance.task.abort();
    while !instance.task.is_finished() {
        tokio::task::yield_now().await;
    }
    let error = probe(address, &check(&[]))
        .await
        .expect_err("nobody is there");
    assert_eq!(
        error.as_str(),
        format!("GET http://{address}/readyz: connection refused")
    );
}

#[tokio::test]
async fn reasons_hold_no_control_characters_and_stay_short() {
    let value = format!("\u{1b}]0;x\u{7}\u{202e}{}", "a".repeat(5_000));
    let body = json!({ "status": value }).to_string();
    let instance = answering(200, "", body).await;
    let reason = trouble(&instance, &check(&[("/status", json!("ok"))])).await;
    assert!(
        !reason.contains(['\u{1b}', '\u{7}', '\u{202e}']),
        "{reason}"
    );
    assert!(
        reason.ends_with("not \"ok\"") && reason.len() < 300,
        "{reason}"
    );
    let instance = raw(b"\x1b[2J\r\n\r\n").await;
    let reason = trouble(&instance, &check(&[])).await;
    assert!(!reason.contains('\u{1b}') && !reason.is_empty(), "{reason}");
}

#[tokio::test]
async fn a_path_cannot_lead_to_another_host() {
    let elsewhere = answering(200, "", "").await;
    let path = format!("@{}/readyz", elsewhere.address);
    let wanted = of_kind(CheckKind::Http(HttpCheck::get(&path)));
    let error = probe(nowhere(), &wanted).await.expect_err("refused");
    assert!(error.as_str().contains("must begin with /"), "{error}");
}

#[tokio::test]
async fn a_smoke_request_is_sent_as_written_and_judged_whole() {
    let instance = serving(|request, body| {
        let as_written = request.method == "POST"
            && request
                .uri
                .path_and_query()
                .is_some_and(|at| at == "/orders?dry=1")
            && request
                .headers
                .get("x-kind")
                .is_some_and(|value| value == "smoke")
            && body == "{\"item\":1}";
        let status = if as_written { 201 } else { 400 };
        let body = r#"{"status":"accepted","total":1}"#;
        Answer::builder()
            .status(status)
            .body(Full::new(body.into()))
            .expect("an answer")
    })
    .await;
    let run = async |request: HttpCheck| {
        let test = smoke_test(CheckKind::Http(request));
        InstanceProbe::new()
            .smoke(&server(), instance.address, &test)
            .await
    };
    let result = run(smoke_request()).await;
    assert_eq!((result.test.as_str(), &result.server), ("order", &server()));
    assert_eq!((result.trouble, result.status), (None, Some(201)));

    type Change = fn(&mut HttpCheck);
    let wrong: [(Change, &str); 6] = [
        (|asked| asked.status = 200, "status 201, not 200"),
        (|asked| asked.body = None, "status 400, not 201"),
        (
            |asked| asked.contains = Some("paid".to_owned()),
            "the body does not contain \"paid\"",
        ),
        (
            |asked| asked.matches = Some("^accepted$".to_owned()),
            "the body does not match \"^accepted$\"",
        ),
        (
            |asked| asked.json = BTreeMap::from([("/total".to_owned(), json!(2))]),
            "total is 1, not 2",
        ),
        (
            |asked| asked.method = "NO SUCH".to_owned(),
            "this is no HTTP method",
        ),
    ];
    for (change, expected) in wrong {
        let mut asked = smoke_request();
        change(&mut asked);
        let trouble = run(asked).await.trouble.expect(expected);
        assert!(
            trouble.as_str().starts_with(expected),
            "{expected}: {trouble}"
        );
    }
}

#[tokio::test]
async fn head_asks_for_no_body() {
    let instance = serving(|request, _| {
        let status = if request.method == "HEAD" { 204 } else { 400 };
        let answer = Answer::builder().status(status);
        answer.body(Full::new(Bytes::new())).expect("an answer")
    })
    .await;
    let asked = HttpCheck {
        method: "HEAD".to_owned(),
        status: 204,
        ..HttpCheck::get("/")
    };
    let check = of_kind(CheckKind::Http(asked));
    assert_eq!(probe(instance.address, &check).await, Ok(()));
}

#[tokio::test]
async fn a_tcp_check_only_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let check = of_kind(CheckKind::Tcp);
    assert_eq!(probe(address, &check).await, Ok(()));
    drop(listener);
    let error = probe(address, &check).await.expect_err("nobody is there");
    let wanted = format!("connect to {address}: connection refused");
    assert_eq!(error.as_str(), wanted);
}

/// A check by a shell, with what it is told as `$1` and so on.
fn shell(script: &str, arguments: &[&str]) -> CheckKind {
    let words = ["sh", "-c", script, "sh"]
        .into_iter()
        .chain(arguments.iter().copied());
    CheckKind::Command {
        command: words.map(str::to_owned).collect(),
    }
}

/// What a check by a shell complains of, without the words that name the program.
async fn complaint(kind: CheckKind, timeout_ms: u64) -> String {
    let check = HealthCheck {
        timeout_ms,
        ..of_kind(kind)
    };
    let error = probe(nowhere(), &check).await.expect_err("it fails");
    let error = error.into_string();
    let shown = check.kind.words(nowhere()) + ": ";
    let reason = error.strip_prefix(&shown);
    reason.unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[tokio::test]
async fn a_command_is_told_which_instance_and_passes_with_exit_code_0() {
    let script = r#"test "$1 $2 $3" = "127.0.0.1:1 1 web3""#;
    let check = of_kind(shell(script, &["{address}", "{port}", "{server}"]));
    assert_eq!(probe(nowhere(), &check).await, Ok(()));
}

#[tokio::test]
async fn a_failing_command_says_what_it_printed_last() {
    for (script, reason) in [
        ("exit 3", "exit status: 3"),
        ("echo one; echo two; exit 1", "exit status: 1: two"),
        (
            "echo out; printf 'first\\n\\033[2Jlast\\n\\n' >&2; exit 1",
            "exit status: 1: ␛[2Jlast",
        ),
    ] {
        assert_eq!(complaint(shell(script, &[]), 30_000).await, reason);
    }
    let missing = CheckKind::Command {
        command: vec!["/nonexistent/check".to_owned()],
    };
    let reason = complaint(missing, 30_000).await;
    assert!(reason.starts_with("it cannot be run: "), "{reason}");
}

#[tokio::test]
async fn a_command_gets_nothing_of_the_engines_environment_but_the_usual() {
    let kind = shell(r#"test -z "$CARGO_MANIFEST_DIR" && test -n "$PATH""#, &[]);
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert_eq!(probe(nowhere(), &of_kind(kind)).await, Ok(()));
}

#[tokio::test]
async fn a_command_that_floods_is_stopped() {
    for stream in ["1", "2"] {
        let kind = shell(&format!("yes >&{stream}"), &[]);
        assert_eq!(
            complaint(kind, 30_000).await,
            format!("it printed more than {OUTPUT_MAX} bytes")
        );
    }
    let much = "yes | head -c 500000; echo last >&2; exit 1";
    assert_eq!(
        complaint(shell(much, &[]), 30_000).await,
        "exit status: 1: last"
    );
}

/// Waits until a process is gone.
async fn gone(pid: &str) {
    let is_there = || {
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    let end = Instant::now() + Duration::from_secs(30);
    while is_there() {
        assert!(Instant::now() < end, "process {pid} goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_it_began() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().join("pids");
    // It refuses to be asked, its child holds the output open.
    let script = r#"trap "" TERM; sleep 600 & echo "$$ $!" > "$1.new"; mv "$1.new" "$1"; wait"#;
    let kind = shell(script, &[at.to_str().expect("a path")]);
    // Dropped from outside, as the engine does at its own deadline.
    let check = of_kind(kind.clone());
    let probing = tokio::spawn(async move { probe(nowhere(), &check).await });
    let end = Instant::now() + Duration::from_secs(30);
    while !at.exists() {
        assert!(Instant::now() < end, "it never began");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    probing.abort();
    both_gone(&at).await;
    // And at its own timeout.
    let mut waited = 200;
    loop {
        assert_eq!(
            complaint(kind.clone(), waited).await,
            format!("it did not end within {waited} ms")
        );
        if at.exists() {
            break;
        }
        waited *= 2;
    }
    both_gone(&at).await;
}

async fn both_gone(pids: &Path) {
    let text = std::fs::read_to_string(pids).expect("two ids");
    std::fs::remove_file(pids).expect("removed");
    for pid in text.split_whitespace() {
        gone(pid).await;
    }
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_ended_and_does_not_delay_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().join("pid");
    let kind = shell(
        r#"sleep 600 & echo $! > "$1""#,
        &[at.to_str().expect("a path")],
    );
    assert_eq!(probe(nowhere(), &of_kind(kind)).await, Ok(()));
    gone(std::fs::read_to_string(at).expect("an id").trim()).await;
}

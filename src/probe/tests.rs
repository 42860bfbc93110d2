use super::*;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response as Answer};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::convert::Infallible;
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

fn check(json: &[(&str, Value)]) -> HealthCheck {
    HealthCheck {
        path: "/readyz".to_owned(),
        status: 200,
        json: json
            .iter()
            .map(|(at, value)| ((*at).to_owned(), value.clone()))
            .collect(),
        interval_ms: 2_000,
        timeout_ms: 5_000,
        successes: 1,
        failures: 1,
        start_timeout_ms: 1_000,
    }
}

fn smoke_test() -> SmokeTest {
    SmokeTest {
        name: "order".parse().expect("a name"),
        method: "POST".to_owned(),
        path: "/orders?dry=1".to_owned(),
        headers: BTreeMap::from([("x-kind".to_owned(), "smoke".to_owned())]),
        body: Some("{\"item\":1}".to_owned()),
        status: 201,
        contains: Some("accepted".to_owned()),
        json: BTreeMap::from([("/total".to_owned(), json!(1))]),
        timeout_ms: 5_000,
    }
}

/// Probes and returns the reason without the words that name the request.
async fn trouble(instance: &Instance, check: &HealthCheck) -> String {
    let error = HttpProbe::new().probe(instance.address, check).await;
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
    let probe = HttpProbe::new();
    let wanted = [
        ("/checks/database", json!("ok")),
        ("/checks/depth", json!(1)),
    ];
    assert_eq!(probe.probe(instance.address, &check(&wanted)).await, Ok(()));
    assert_eq!(
        probe
            .probe(instance.address, &check(&[("/extra/0", json!(true))]))
            .await,
        Ok(())
    );
    assert_eq!(probe.probe(instance.address, &check(&[])).await, Ok(()));
}

#[tokio::test]
async fn a_wrong_value_is_named_with_what_was_expected() {
    let instance = answering(200, "", r#"{"checks":{"database":"down"}}"#).await;
    let wanted = check(&[("/checks/database", json!("ok"))]);
    assert_eq!(
        trouble(&instance, &wanted).await,
        r#"/checks/database is "down", expected "ok""#
    );
    let wanted = check(&[("/checks/cache", json!("ok"))]);
    assert_eq!(
        trouble(&instance, &wanted).await,
        r#"/checks/cache is missing, expected "ok""#
    );
}

#[tokio::test]
async fn a_wrong_status_fails_and_redirects_are_not_followed() {
    let instance = answering(503, "", "{}").await;
    assert_eq!(
        trouble(&instance, &check(&[])).await,
        "status 503, expected 200"
    );
    let healthy = answering(200, "", "{}").await;
    let target = format!("http://{}/", healthy.address);
    let instance = answering(302, Box::leak(target.into_boxed_str()), "").await;
    assert_eq!(
        trouble(&instance, &check(&[])).await,
        "status 302, expected 200"
    );
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
        let begun = Instant::now();
        assert_eq!(
            trouble(&instance, &wanted).await,
            "no whole answer within 150 ms"
        );
        assert!(begun.elapsed() < Duration::from_secs(2));
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
    let error = HttpProbe::new()
        .probe(address, &check(&[]))
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
        reason.ends_with("expected \"ok\"") && reason.len() < 300,
        "{reason}"
    );
    let instance = raw(b"\x1b[2J\r\n\r\n").await;
    let reason = trouble(&instance, &check(&[])).await;
    assert!(!reason.contains('\u{1b}') && !reason.is_empty(), "{reason}");
}

#[tokio::test]
async fn a_path_cannot_lead_to_another_host() {
    let elsewhere = answering(200, "", "").await;
    let mut wanted = check(&[]);
    wanted.path = format!("@{}/readyz", elsewhere.address);
    let here = SocketAddr::from(([127, 0, 0, 1], 1));
    let error = HttpProbe::new()
        .probe(here, &wanted)
        .await
        .expect_err("refused");
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
    let server: ServerName = "web3".parse().expect("a name");
    let run = async |test: &SmokeTest| {
        HttpProbe::new()
            .smoke(&server, instance.address, test)
            .await
    };
    let result = run(&smoke_test()).await;
    assert_eq!((result.test.as_str(), &result.server), ("order", &server));
    assert_eq!(result.trouble, None);

    type Change = fn(&mut SmokeTest);
    let wrong: [(Change, &str); 5] = [
        (|test| test.status = 200, "status 201, expected 200"),
        (|test| test.body = None, "status 400, expected 201"),
        (
            |test| test.contains = Some("paid".to_owned()),
            "the body does not contain \"paid\"",
        ),
        (
            |test| test.json = BTreeMap::from([("/total".to_owned(), json!(2))]),
            "/total is 1, expected 2",
        ),
        (
            |test| test.method = "NO SUCH".to_owned(),
            "this is no HTTP method",
        ),
    ];
    for (change, expected) in wrong {
        let mut test = smoke_test();
        change(&mut test);
        let trouble = run(&test).await.trouble.expect(expected);
        assert!(trouble.as_str().contains(expected), "{expected}: {trouble}");
    }
}

//! A server that lies, hangs and floods.

use crate::fake::{Fake, Reply, now_s, value, value_at, vector, well};
use crate::{adapter, options, read, read_canary};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use wheelhouse::metrics::prometheus::{Login, Prometheus};
use wheelhouse::model::metrics::{Figure, Measured, Preset, ReleaseFigures};

fn canary(reading: wheelhouse::model::metrics::MetricsReading) -> ReleaseFigures {
    reading.canary.expect("it was asked about")
}

#[tokio::test]
async fn a_well_one_is_read_whole() {
    let fake = Fake::start(well).await;
    let reading = read(&adapter(&fake.url(), Preset::Http))
        .await
        .expect("an answer");
    assert!(reading.skew_ms.abs() < 2_000, "{}", reading.skew_ms);
    let canary = canary(reading);
    assert_eq!(canary.value(Figure::Requests), Some(100.0));
    assert_eq!(canary.value(Figure::Errors), Some(0.0));
    assert_eq!(canary.age_ms, Some(500));
    let latency = canary.latency.as_ref().and_then(|latency| latency.value());
    assert_eq!(
        latency.and_then(|latency| latency.above(1_000.0)),
        Some(0.0)
    );
    assert_eq!((canary.nothing(), canary.doubtful()), (None, None));
}

#[tokio::test]
async fn fault_71_what_is_no_finite_number_is_doubtful() {
    for bad in [
        r#""NaN""#,
        r#""+Inf""#,
        r#""-Inf""#,
        r#""""#,
        "null",
        r#""1e999""#,
        r#""-3""#,
    ] {
        let fake = Fake::start(move |head| match head.contains("5..") {
            true => value(bad),
            false => well(head),
        })
        .await;
        let reading = read(&adapter(&fake.url(), Preset::Http))
            .await
            .expect("an answer");
        let canary = canary(reading);
        assert!(canary.doubtful().is_some(), "{bad}: {canary:?}");
        assert_eq!(canary.value(Figure::Errors), None, "{bad}");
    }
}

#[tokio::test]
async fn fault_72_an_empty_vector_is_nothing() {
    let fake = Fake::start(|_| vector("")).await;
    let reading = read(&adapter(&fake.url(), Preset::Http))
        .await
        .expect("an answer");
    let canary = canary(reading);
    let why = canary.nothing().expect("nothing").to_string();
    assert!(why.contains("is not scraped"), "{why}");
    assert!(
        canary
            .figures
            .values()
            .all(|figure| figure.value().is_none())
    );
}

#[tokio::test]
async fn fault_73_several_series_are_refused_with_their_labels() {
    let fake = Fake::start(|_| {
        vector(
            r#"{"metric":{"pod":"a"},"value":[1,"1"]},{"metric":{"pod":"b\u001b[2J"},"value":[1,"2"]}"#,
        )
    })
    .await;
    let error = read(&adapter(&fake.url(), Preset::Http))
        .await
        .expect_err("refused");
    let text = error.to_string();
    assert!(
        text.contains("pod=\"a\"") && text.contains("2 series"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn fault_75_every_other_answer_is_an_error_that_says_which() {
    let raw = |status: &str, more: &str, body: &str| {
        let length = body.len();
        Reply::Raw(format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n{body}"
        ))
    };
    let page = "<html>Sign in \u{1b}[31mhere</html>";
    for (reply, said) in [
        (raw("401 Unauthorized", "", "no"), "see token"),
        (raw("403 Forbidden", "", "no"), "see token"),
        (raw("500 Internal Server Error", "", page), "500"),
        (
            raw("200 OK", "Content-Type: text/html\r\n", page),
            "Sign in",
        ),
        (
            raw(
                "400 Bad Request",
                "",
                r#"{"status":"error","error":"parse error"}"#,
            ),
            "parse error",
        ),
        (
            raw(
                "200 OK",
                "",
                r#"{"status":"success","warnings":["partial"],"data":null}"#,
            ),
            "partial",
        ),
        (
            raw("200 OK", "Content-Encoding: gzip\r\n", "x"),
            "compressed",
        ),
        (
            Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"sta".to_owned()),
            "broke off",
        ),
        (Reply::Raw("SSH-2.0-OpenSSH\r\n".to_owned()), "broke off"),
    ] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let error = read(&adapter(&fake.url(), Preset::Http))
            .await
            .expect_err("refused");
        let text = error.to_string();
        assert!(text.contains(said), "{said:?} in {text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

#[tokio::test]
async fn fault_75_a_redirect_is_not_followed_and_secrets_go_nowhere_else() {
    let elsewhere = Fake::start(well).await;
    let to = elsewhere.url();
    let fake = Fake::start(move |head| {
        assert!(head.to_lowercase().contains("authorization: bearer hunter2"));
        Reply::Raw(format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}/login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let token = dir.path().join("token");
    std::fs::write(&token, "hunter2\n").expect("written");
    let mut options = options(&fake.url(), Preset::Http);
    let kept = format!("file:{}", token.display());
    options.login = Some(Login::Bearer(kept.parse().expect("a reference")));
    assert!(!format!("{options:?}").contains("hunter2"));
    let prometheus = Prometheus::new(options).expect("an adapter");
    let text = read(&prometheus).await.expect_err("refused").to_string();
    assert!(text.contains("redirects to"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(elsewhere.asked.load(Ordering::Relaxed), 0);
}

/// A listener whose queue is full: the kernel answers no further connection.
fn deaf() -> (rustix::fd::OwnedFd, Vec<std::net::TcpStream>, SocketAddr) {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    bind(&listener, &any).expect("bound");
    listen(&listener, 0).expect("listening");
    let address = SocketAddr::try_from(getsockname(&listener).expect("its address"))
        .expect("an internet address");
    let short = Duration::from_millis(200);
    let fill = (0..8).map_while(|_| std::net::TcpStream::connect_timeout(&address, short).ok());
    let waiting = fill.collect();
    (listener, waiting, address)
}

#[tokio::test]
async fn fault_76_hanging_ends_within_its_deadline() {
    let (listener, waiting, address) = deaf();
    let silent = Fake::start(|_| Reply::Silent).await;
    let trickle = Fake::start(|_| Reply::Trickle).await;
    let timed = async |url: String| {
        let began = Instant::now();
        let text = read(&adapter(&url, Preset::Http))
            .await
            .expect_err("late")
            .to_string();
        (began.elapsed(), text)
    };
    let (connect, headers, body) = tokio::join!(
        timed(format!("http://{address}")),
        timed(silent.url()),
        timed(trickle.url())
    );
    assert!(connect.0 < Duration::from_secs(4), "{connect:?}");
    assert!(
        connect.1.contains("no connection within 2 s"),
        "{connect:?}"
    );
    for late in [headers, body] {
        assert!(late.0 < Duration::from_secs(10), "{late:?}");
        assert!(late.1.contains("no whole answer"), "{late:?}");
    }
    drop((listener, waiting));
}

#[tokio::test]
async fn fault_77_a_flood_is_cut_off() {
    const CUT: u64 = 8 * 1024 * 1024;
    for flood in [
        " ",
        "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[[[[[[[[",
        "{\"metric\":{\"pod\":\"a\"},\"value\":[1,\"1\"]},",
    ] {
        let fake = Fake::start(move |_| Reply::Flood(flood)).await;
        let error = read_canary(&adapter(&fake.url(), Preset::Http))
            .await
            .expect_err("cut off");
        let text = error.to_string();
        assert!(text.contains("larger than 8 MB"), "{text}");
        let taken = fake.flooded.load(Ordering::Relaxed);
        assert!(taken < 3 * CUT, "{taken} bytes were taken");
    }
}

/// Ages are by its own clock: one that is ten minutes ahead or behind makes no sample older.
#[tokio::test]
async fn fault_80_a_wrong_clock_changes_no_age_and_is_told() {
    for skew_s in [-600.0, 600.0] {
        let fake = Fake::start(move |head| match head.contains("timestamp%28") {
            true => value_at(now_s() + skew_s, r#""0.5""#),
            false => well(head),
        })
        .await;
        let reading = read(&adapter(&fake.url(), Preset::Http))
            .await
            .expect("an answer");
        let off_ms = (reading.skew_ms as f64 - skew_s * 1_000.0).abs();
        assert!(off_ms < 5_000.0, "{}", reading.skew_ms);
        let canary = canary(reading);
        assert_eq!(canary.value(Figure::Requests), Some(100.0));
    }
}

#[tokio::test]
async fn fault_74_an_old_sample_is_no_data() {
    let fake = Fake::start(|head| match head.contains("timestamp%28") {
        true => value(r#""2.1""#),
        false => well(head),
    })
    .await;
    let reading = read(&adapter(&fake.url(), Preset::Http))
        .await
        .expect("an answer");
    let canary = canary(reading);
    let requests = &canary.figures[&Figure::Requests];
    assert!(matches!(requests, Measured::Nothing(why) if why.as_str().contains("s old")));
}

/// FAULTS 86: what is asked holds every name as a value.
#[tokio::test]
async fn fault_86_names_are_asked_as_values() {
    let fake = Fake::start(|head| {
        let line = head.lines().next().unwrap_or_default();
        let query = line
            .split(['?', ' ', '&'])
            .find_map(|part| part.strip_prefix("query="));
        let query = query
            .unwrap_or_default()
            .replace('+', " ")
            .replace("%22", "\"");
        assert_eq!(query.matches('"').count() % 2, 0, "{query}");
        well(head)
    })
    .await;
    read(&adapter(&fake.url(), Preset::Http))
        .await
        .expect("an answer");
}

//! Clocks: this machine's against the engine's and against those of peers that tell a `Date`.

use super::PATIENCE;
use super::finding::{Finding, Subject};
use crate::model::ServiceSpec;
use crate::model::world::InstanceView;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Clocks closer than this agree: a `Date` has whole seconds, and an answer takes its time.
const AGREE_MS: i64 = 2_000;
/// Further apart, times of records and of other people's logs no longer fit.
const APART_MS: i64 = 30_000;

/// This machine's time, Unix ms.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Judges how far a clock is ahead of this machine's.
pub(super) fn judge(subject: &Subject, ahead_ms: i64, mend: &str) -> Finding {
    let word = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let text = format!(
        "{:.1} s {word} this machine",
        ahead_ms.abs() as f64 / 1_000.0
    );
    match ahead_ms.abs() {
        0..=AGREE_MS => subject.ok("agrees with this machine's"),
        ..=APART_MS => subject.note(&format!("{text}; {mend}")),
        _ => subject.bad(&format!("{text}; {mend}")),
    }
}

/// The clock of a host, by the `Date` of one of its instances' health answers. Says nothing where
/// none runs or tells it.
pub(super) async fn of_an_instance(
    spec: &ServiceSpec,
    instances: &BTreeMap<crate::model::ServerName, InstanceView>,
) -> Option<Finding> {
    let running = instances.iter().find(|(_, view)| view.exited.is_none())?;
    let address = spec.address(running.0)?;
    let path = spec.health.kind.http().map_or("/", |check| &check.path);
    let date = date_of(&format!("http://{address}{path}")).await?;
    let subject = Subject::new("instance.clock", &format!("{} clock", spec.placement));
    let ahead_ms = date - now_ms();
    let mend = "let both machines follow one time server";
    Some(judge(&subject, ahead_ms, mend))
}

/// What a peer says the time is, Unix ms.
async fn date_of(url: &str) -> Option<i64> {
    let client = reqwest::Client::builder().no_proxy().build().ok()?;
    let answer = client.get(url).timeout(PATIENCE).send().await.ok()?;
    let date = answer.headers().get("date")?.to_str().ok()?;
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date);
    parsed.ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::State;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off_whichever_way() {
        let subject = Subject::new("engine.clock", "engine");
        let state = |ahead_ms| judge(&subject, ahead_ms, "mend it").state;
        for (ahead_ms, wanted) in [
            (0, State::Ok),
            (-2_000, State::Ok),
            (2_001, State::Note),
            (-30_000, State::Note),
            (-30_001, State::Bad),
            (90_000_000, State::Bad),
        ] {
            assert_eq!(state(ahead_ms), wanted, "{ahead_ms}");
        }
        let said = judge(&subject, -45_000, "mend it").text;
        assert_eq!(said.as_str(), "45.0 s behind this machine; mend it");
    }

    #[tokio::test]
    async fn a_peer_that_tells_a_date_is_understood() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("its address"));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.expect("a request");
            assert!(read > 0);
            let answer = "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                          content-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.expect("answered");
        });
        assert_eq!(date_of(&url).await, Some(784_111_777_000));
        server.await.expect("no panic");
    }
}

use super::*;
use crate::model::service::{CheckKind, HealthCheck};
use std::sync::atomic::{AtomicU32, Ordering};

/// Fails so many times, each time after a while, then passes.
struct Fails {
    times: u32,
    after: Duration,
    asked: AtomicU32,
}

impl Fails {
    fn times(times: u32, after: Duration) -> Self {
        Self {
            times,
            after,
            asked: AtomicU32::new(0),
        }
    }
}

impl Probe for Fails {
    async fn probe(&self, _: &ServerName, _: SocketAddr, _: &HealthCheck) -> Result<(), Clean> {
        Ok(())
    }

    async fn smoke(&self, server: &ServerName, _: SocketAddr, test: &SmokeTest) -> SmokeResult {
        tokio::time::sleep(self.after).await;
        let fails = self.asked.fetch_add(1, Ordering::Relaxed) < self.times;
        SmokeResult {
            status: fails.then_some(503),
            trouble: fails.then(|| "status 503, not 200".into()),
            ..SmokeResult::passed(test, server, 7)
        }
    }
}

async fn tried(probe: &Fails, attempts: u32, limit_ms: u64) -> SmokeResult {
    let test = SmokeTest {
        name: "front".parse().expect("a name"),
        critical: true,
        kind: CheckKind::Tcp,
        timeout_ms: 1_000,
        attempts,
        retry_interval_ms: 2_000,
    };
    let limit = SmokeLimit {
        until: Instant::now() + Duration::from_millis(limit_ms),
        ms: limit_ms,
    };
    let server = "web1".parse().expect("a name");
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    super::attempts(probe, &server, address, &test, limit).await
}

const AT_ONCE: Duration = Duration::ZERO;

#[tokio::test(start_paused = true)]
async fn a_smoke_test_is_tried_again_until_it_passes() {
    let begun = Instant::now();
    let result = tried(&Fails::times(2, AT_ONCE), 5, 60_000).await;
    assert_eq!(
        (result.trouble, result.attempts, result.took_ms),
        (None, 3, 7)
    );
    assert_eq!(begun.elapsed(), Duration::from_secs(4), "two pauses");
}

#[tokio::test(start_paused = true)]
async fn when_its_attempts_are_used_up_the_last_answer_counts() {
    let result = tried(&Fails::times(9, AT_ONCE), 3, 60_000).await;
    assert_eq!((result.attempts, result.status), (3, Some(503)));
    assert_eq!(result.trouble, Some("status 503, not 200".into()));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_over_within_the_runs_time_has_failed() {
    let late = "not passed within the smoke run's 3 s";
    let hangs = Fails::times(0, Duration::from_secs(600));
    let result = tried(&hangs, 3, 3_000).await;
    assert_eq!((result.attempts, result.took_ms), (1, 3_000));
    assert_eq!(result.trouble, Some(late.into()));

    // Cut short in a pause, the failure before it says more.
    let result = tried(&Fails::times(9, AT_ONCE), 5, 3_000).await;
    assert_eq!((result.attempts, result.status), (2, Some(503)));

    let unasked = Fails::times(0, AT_ONCE);
    let result = tried(&unasked, 3, 0).await;
    assert_eq!(result.attempts, 0);
    assert_eq!(
        result.trouble,
        Some("not passed within the smoke run's 0 ms".into())
    );
    assert_eq!(unasked.asked.load(Ordering::Relaxed), 0);
}

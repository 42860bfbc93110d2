//! What every adapter promises, whatever stands behind it: one function per port. A promise is
//! kept by the embedded default and by the real systems, or it is none.

// Each test crate uses the promises of the ports it has an adapter for.
#![allow(dead_code)]

pub mod balancer;
pub mod runtime;

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest wait for something the other side does in its own time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the answer is there; other processes tell nobody when they are done.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

//! The one timer of a client's connection.
//!
//! Nearly every deadline is met. So meeting one and setting the next must not go through the
//! runtime's timers, which all connections share behind a lock: the timer stays where it was
//! set, and only when it goes off is it moved to the deadline that holds by then.

use hyper::rt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer with one deadline at a time, for one task.
#[derive(Debug, Clone)]
pub(super) struct Alarm(Arc<Mutex<Pin<Box<Sleep>>>>);

impl Alarm {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Box::pin(sleep_until(Instant::now())))))
    }

    /// Ready once the deadline has passed.
    pub(super) fn poll(&self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleep = self
            .0
            .lock()
            .expect("invariant: nothing panics under an alarm's lock");
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// How hyper sets its deadline for a request's head.
impl rt::Timer for Alarm {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Until {
            alarm: self.clone(),
            deadline: deadline.into(),
        })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into()
    }
}

struct Until {
    alarm: Alarm,
    deadline: Instant,
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll(self.deadline, cx)
    }
}

impl rt::Sleep for Until {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// For how long it rings after a deadline set now, in milliseconds.
    async fn rings_after(alarm: &Alarm, ms: u64) -> u128 {
        let began = Instant::now();
        let deadline = began + Duration::from_millis(ms);
        poll_fn(|cx| alarm.poll(deadline, cx)).await;
        began.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_that_holds_whatever_came_before() {
        let alarm = Alarm::new();
        assert_eq!(rings_after(&alarm, 100).await, 100);
        // Met: polled once, then left alone.
        let met = Instant::now() + Duration::from_secs(60);
        let once = poll_fn(|cx| Poll::Ready(alarm.poll(met, cx).is_ready())).await;
        assert!(!once);
        assert_eq!(rings_after(&alarm, 500).await, 500, "an earlier one");
        let met = Instant::now() + Duration::from_secs(5);
        let once = poll_fn(|cx| Poll::Ready(alarm.poll(met, cx).is_ready())).await;
        assert!(!once);
        assert_eq!(rings_after(&alarm, 60_000).await, 60_000, "a later one");
    }
}

//! The engine's time: wall time at start plus monotonic time since, so it never runs backwards.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that began at some wall time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
    began_ms: u64,
}

impl Clock {
    /// Begins now; not before `floor_ms`, the time of the newest record.
    pub fn start(floor_ms: u64) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            began: Instant::now(),
            began_ms: (wall.as_millis() as u64).max(floor_ms),
        }
    }

    /// The engine's time now, in Unix ms.
    pub fn now_ms(&self) -> u64 {
        self.began_ms + self.began.elapsed().as_millis() as u64
    }

    /// The moment at which the engine's time will be `at_ms`.
    pub fn instant(&self, at_ms: u64) -> Instant {
        self.began + Duration::from_millis(at_ms.saturating_sub(self.began_ms))
    }
}

//! When to draw: only what changed, and only so often.

/// Between two frames: here, over SSH, with little bandwidth, and when nobody looks.
const FRAME_MS: u64 = 66;
const FRAME_SSH_MS: u64 = 200;
const FRAME_LOW_MS: u64 = 500;
const FRAME_UNFOCUSED_MS: u64 = 1_000;

/// When to draw.
pub(super) struct Pace {
    frame_ms: u64,
    /// Not before this.
    pub(super) next_ms: u64,
    /// Whether anything may have changed.
    pub(super) dirty: bool,
    /// Whether the terminal has the focus.
    pub(super) focused: bool,
}

impl Pace {
    pub(super) fn new(low_bandwidth: bool, ssh: bool) -> Self {
        Self {
            frame_ms: match (low_bandwidth, ssh) {
                (true, _) => FRAME_LOW_MS,
                (false, true) => FRAME_SSH_MS,
                (false, false) => FRAME_MS,
            },
            next_ms: 0,
            dirty: true,
            focused: true,
        }
    }

    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.dirty && now_ms >= self.next_ms
    }

    /// A frame was drawn.
    pub(super) fn drawn(&mut self, now_ms: u64) {
        self.dirty = false;
        self.next_ms = now_ms
            + match self.focused {
                true => self.frame_ms,
                false => self.frame_ms.max(FRAME_UNFOCUSED_MS),
            };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_distance_and_a_clean_screen_is_not_drawn() {
        let mut pace = Pace::new(false, true);
        assert!(pace.is_due(0));
        pace.drawn(0);
        assert!(!pace.is_due(10_000), "nothing changed");
        pace.dirty = true;
        assert!(!pace.is_due(FRAME_SSH_MS - 1));
        assert!(pace.is_due(FRAME_SSH_MS));
        pace.focused = false;
        pace.drawn(0);
        assert_eq!(pace.next_ms, FRAME_UNFOCUSED_MS);
    }
}

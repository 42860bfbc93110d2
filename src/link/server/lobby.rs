//! Where callers wait who have not yet said what they want.
//!
//! Everybody gets in; when it is full, the one who has been silent longest is sent away. So a
//! flood of silent connections cannot keep out one that speaks at once. Must not know about
//! users or requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// The waiting callers, oldest first.
#[derive(Debug)]
pub(super) struct Lobby {
    seats_max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    callers: VecDeque<(u64, CancellationToken)>,
}

/// A place in the lobby, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    lobby: Arc<Lobby>,
    id: u64,
    evicted: CancellationToken,
}

/// Whether somebody was sent away for a newcomer.
pub(super) type Crowded = bool;

impl Lobby {
    /// A lobby for at most `seats_max` callers.
    pub(super) fn new(seats_max: usize) -> Arc<Self> {
        Arc::new(Self {
            seats_max,
            waiting: Mutex::default(),
        })
    }

    /// Takes a caller in, and sends the oldest away if that is one too many.
    pub(super) fn enter(lobby: &Arc<Self>) -> (Seat, Crowded) {
        let evicted = CancellationToken::new();
        let mut waiting = lobby.lock();
        let id = waiting.next_id;
        waiting.next_id += 1;
        waiting.callers.push_back((id, evicted.clone()));
        let crowded = waiting.callers.len() > lobby.seats_max;
        if crowded && let Some((_, oldest)) = waiting.callers.pop_front() {
            oldest.cancel();
        }
        let lobby = Arc::clone(lobby);
        (Seat { lobby, id, evicted }, crowded)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Ends when the caller must go.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lobby.lock().callers.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_waiting_caller_makes_room_for_the_newest() {
        let lobby = Lobby::new(2);
        let (first, _) = Lobby::enter(&lobby);
        let (second, _) = Lobby::enter(&lobby);
        let (third, crowded) = Lobby::enter(&lobby);
        assert!(crowded);
        let evicted = [&first, &second, &third].map(|seat| seat.evicted.is_cancelled());
        assert_eq!(evicted, [true, false, false]);
    }

    #[test]
    fn a_seat_given_back_is_free_again() {
        let lobby = Lobby::new(1);
        drop(Lobby::enter(&lobby));
        let (_seat, crowded) = Lobby::enter(&lobby);
        assert!(!crowded);
    }
}

//! Hints of runtimes on their way into the engine's loop: kept once each, however often they come.

use super::work::Peers;
use crate::model::{Event, Placement, RuntimeName};
use crate::ports::Runtime;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Hints that wait for a turn, one per runtime and placement. More are taken together: whoever
/// labels containers may name placements without end.
const WAITING_MAX: usize = 256;

/// One hint: which runtime, and whose instances; `None` for everybody's.
type Hint = (RuntimeName, Option<Placement>);

/// What was told and is not taken yet.
#[derive(Debug, Default)]
struct Waiting {
    all: Mutex<BTreeSet<Hint>>,
    told: Notify,
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Hint>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, runtime: &RuntimeName, placement: Option<Placement>) {
        let mut all = self.lock();
        // Everybody's covers each one's.
        if !all.contains(&(runtime.clone(), None)) {
            let room = all.len() < WAITING_MAX;
            if placement.is_none() || !room {
                all.retain(|(whose, _)| whose != runtime);
            }
            all.insert((runtime.clone(), placement.filter(|_| room)));
        }
        drop(all);
        self.told.notify_one();
    }
}

/// Watches every runtime there is.
#[derive(Debug, Default)]
pub(super) struct Hints {
    waiting: Arc<Waiting>,
    watches: JoinSet<()>,
}

impl Hints {
    /// Watches these peers from now on, and no others. Each begins with a look of its own.
    pub(super) fn watch<P: Peers>(&mut self, peers: &Arc<P>) {
        self.watches = JoinSet::new();
        for name in peers.runtimes() {
            let (peers, waiting) = (Arc::clone(peers), Arc::clone(&self.waiting));
            self.watches.spawn(async move {
                if let Some(runtime) = peers.runtime(&name) {
                    let tell = |placement| waiting.tell(&name, placement);
                    runtime.watch(tell).await;
                }
            });
        }
    }

    /// Waits for one, as the engine takes it. Loses nothing when it is given up.
    pub(super) async fn next(&self) -> Event {
        loop {
            if let Some((runtime, placement)) = self.waiting.lock().pop_first() {
                return Event::RuntimeHinted { runtime, placement };
            }
            self.waiting.told.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn taken(hints: &Hints) -> Vec<Event> {
        std::iter::from_fn(|| hints.next().now_or_never()).collect()
    }

    fn hinted(runtime: &str, placement: Option<&str>) -> Event {
        Event::RuntimeHinted {
            runtime: runtime.parse().expect("a name"),
            placement: placement.map(|text| text.parse().expect("a placement")),
        }
    }

    #[test]
    fn fault_055_what_comes_twice_is_taken_once_and_everybodys_covers_each_ones() {
        let hints = Hints::default();
        let (a, b) = ("a".parse().expect("a name"), "b".parse().expect("a name"));
        let shop: Placement = "shop@test".parse().expect("a placement");
        for _ in 0..1_000 {
            hints.waiting.tell(&a, Some(shop.clone()));
        }
        hints.waiting.tell(&b, Some(shop.clone()));
        assert_eq!(
            taken(&hints),
            [
                hinted("a", Some("shop@test")),
                hinted("b", Some("shop@test"))
            ]
        );
        hints.waiting.tell(&a, Some(shop.clone()));
        hints.waiting.tell(&b, Some(shop.clone()));
        hints.waiting.tell(&a, None);
        hints.waiting.tell(&a, Some(shop));
        assert_eq!(
            taken(&hints),
            [hinted("a", None), hinted("b", Some("shop@test"))]
        );
        assert_eq!(taken(&hints), []);
    }

    #[test]
    fn placements_without_end_are_taken_together() {
        let hints = Hints::default();
        let name = "a".parse().expect("a name");
        for number in 0..10 * WAITING_MAX {
            let placement = format!("s{number}@test").parse().expect("a placement");
            hints.waiting.tell(&name, Some(placement));
        }
        assert_eq!(taken(&hints), [hinted("a", None)]);
    }
}

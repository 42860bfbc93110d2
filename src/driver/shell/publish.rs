//! What the shell tells the outside: snapshots, at most ten a second, and answers.

use super::Shell;
use crate::driver::Peers;
use crate::model::State;
use crate::model::command::Answer;
use crate::ports::Stages;
use crate::view;
use crate::view::RunView;
use crate::view::snapshot::{EngineView, Snapshot};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two published snapshots.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// The same while stages write output.
const PUBLISH_OUTPUT_EVERY: Duration = Duration::from_millis(500);
/// A snapshot takes a part of a millisecond, in which the write of an abort would wait.
const ANSWER_AFTER: Duration = Duration::from_millis(2);

impl<P: Peers> Shell<P> {
    /// Answers who asked. Whoever is told that it is done must find it done when they look, so
    /// the snapshot comes first; but before both the effects, which are under way by then.
    pub(super) fn answer(&mut self, request: u64, answer: Answer) {
        if matches!(answer, Answer::Accepted { .. } | Answer::Run { .. }) {
            self.due.push((request, answer));
            let soon = Instant::now() + ANSWER_AFTER;
            self.publish_at = Some(self.publish_at.map_or(soon, |at| at.min(soon)));
        } else {
            self.send(request, answer);
        }
    }

    fn send(&mut self, request: u64, answer: Answer) {
        let asker = self.answers.remove(&request);
        if asker.is_some_and(|asker| asker.send(answer).is_err()) {
            tracing::debug!(request, "nobody waits for the answer any more");
        }
    }

    pub(super) fn publish_soon(&mut self) {
        self.publish_at
            .get_or_insert(self.published + PUBLISH_EVERY);
    }

    /// Publishes, unless nothing but times of readings changed and no rollout is open; then
    /// answers whose commands this shows.
    pub(super) fn publish_now(&mut self) {
        self.publish_at = None;
        self.published = Instant::now();
        let snapshot = self.snapshot();
        let busy = snapshot
            .placements
            .iter()
            .any(|view| view.rollout.is_some());
        if snapshot.runs.iter().any(RunView::is_open) {
            // What a stage writes is no event.
            self.publish_at = Some(self.published + PUBLISH_OUTPUT_EVERY);
        }
        let same = still(&snapshot) == still(&self.publish.borrow());
        if busy || !same {
            self.publish.send_replace(Arc::new(snapshot));
        }
        for (request, answer) in std::mem::take(&mut self.due) {
            self.send(request, answer);
        }
    }

    /// Runs, with the newest line of what their stages write.
    fn runs(&self, state: &State) -> Vec<RunView> {
        let mut runs = view::runs(state, &self.core.world);
        for run in runs.iter_mut().filter(|run| run.is_open()) {
            let running = run.stages.iter_mut();
            for stage in running.filter(|stage| stage.status == "running") {
                stage.last_line = self.peers.stages().last_line(run.id, &stage.name);
            }
        }
        runs
    }

    fn snapshot(&self) -> Snapshot {
        let state = self.core.acting_state();
        let mut snapshot = Snapshot {
            engine: EngineView {
                info: self.info.clone(),
                now_ms: self.clock.now_ms(),
                started_ms: self.started_ms,
                seq: self.core.state.seq,
                history_trouble: self.core.history_trouble().cloned(),
                newer: state.newer,
                consoles: self.consoles.clone(),
                read_only: self.read_only.clone(),
                timeline: self.timeline.iter().cloned().collect(),
            },
            placements: view::placements(state, &self.core.world, &self.configured),
            runs: self.runs(state),
        };
        view::name_switchers(&mut snapshot);
        snapshot
    }
}

/// A snapshot without what changes although nothing happens.
fn still(snapshot: &Snapshot) -> Snapshot {
    let mut still = snapshot.clone();
    still.engine.now_ms = 0;
    for view in &mut still.placements {
        view.traffic.read_ms = None;
        for peer in &mut view.peers {
            peer.read_ms = None;
        }
    }
    still
}

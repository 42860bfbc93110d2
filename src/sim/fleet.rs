//! The fake runtime: processes behind servers, with what makes them fall.

use crate::model::world::{InstanceView, RuntimeReading};
use crate::model::{ReleaseId, ServerName};
use std::collections::BTreeMap;

/// Between an exit and the runtime's restart.
const RESTART_MS: u64 = 400;
/// From the signal that tells a worker to take no new work until it is done.
const DONE_MS: u64 = 900;

/// How a release behaves, whatever the engine believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traits {
    /// Answers that are errors, of a thousand.
    pub(super) errors_permille: u64,
    /// How long an answer takes.
    pub(super) latency_us: u64,
    /// From start to the first good probe.
    pub(super) ready_after_ms: u64,
    /// A process dies this long after its start.
    pub(super) dies_after_ms: Option<u64>,
    /// Whether smoke tests find something.
    pub(super) smoke_fails: bool,
}

impl Traits {
    pub(super) const GOOD: Self = Self {
        errors_permille: 0,
        latency_us: 20_000,
        ready_after_ms: 300,
        dies_after_ms: None,
        smoke_fails: false,
    };

    pub(super) const BAD: Self = Self {
        errors_permille: 300,
        ..Self::GOOD
    };

    /// Whether judging must not let it through.
    pub(super) fn is_bad(self) -> bool {
        self.errors_permille >= 200
    }
}

#[derive(Debug, Clone)]
pub(super) struct FakeInstance {
    pub(super) release: ReleaseId,
    intent: u64,
    pid: u32,
    started_ms: u64,
    ready_ms: u64,
    dies_ms: Option<u64>,
    restarts: u32,
    pub(super) keep_running: bool,
    exited_ms: Option<u64>,
    /// Whether its process was told to take no new work.
    pub(super) quiet: bool,
    /// Hangs until then: it lives but answers nothing.
    hangs_until_ms: u64,
}

impl FakeInstance {
    pub(super) fn is_running(&self) -> bool {
        self.exited_ms.is_none()
    }

    pub(super) fn serves(&self, now_ms: u64) -> bool {
        self.is_running() && now_ms >= self.ready_ms && now_ms >= self.hangs_until_ms
    }
}

/// All instances of the placement.
#[derive(Debug, Clone, Default)]
pub(super) struct Fleet {
    epoch: u32,
    pids: u32,
    pub(super) instances: BTreeMap<ServerName, FakeInstance>,
    pub(super) truth: BTreeMap<ReleaseId, Traits>,
}

impl Fleet {
    pub(super) fn traits(&self, release: ReleaseId) -> Traits {
        self.truth.get(&release).copied().unwrap_or(Traits::GOOD)
    }

    pub(super) fn serves(&self, server: &ServerName, now_ms: u64) -> bool {
        let there = self.instances.get(server);
        there.is_some_and(|instance| instance.serves(now_ms))
    }

    /// Lets processes die and restarts those that are to be kept running.
    pub(super) fn advance(&mut self, now_ms: u64) -> bool {
        let mut changed = false;
        for instance in self.instances.values_mut() {
            if instance.is_running() && instance.dies_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                instance.exited_ms = Some(now_ms);
                changed = true;
            }
            let back = instance
                .exited_ms
                .is_some_and(|at| at + RESTART_MS <= now_ms);
            if instance.keep_running && back {
                self.pids += 1;
                instance.restarts += 1;
                let traits = self.truth.get(&instance.release).copied();
                begin(instance, self.pids, traits.unwrap_or(Traits::GOOD), now_ms);
                changed = true;
            }
        }
        changed
    }

    /// Starts, or lets a running one of the same release be. `Err` says what stands in the way.
    pub(super) fn start(
        &mut self,
        server: &ServerName,
        release: ReleaseId,
        intent: u64,
        keep_running: bool,
        now_ms: u64,
    ) -> Result<(), &'static str> {
        if let Some(there) = self.instances.get_mut(server) {
            let wanted = there.is_running() || there.keep_running;
            if there.release == release && (wanted || there.intent == intent) {
                there.keep_running = keep_running;
                return Ok(());
            }
            if wanted {
                return Err("another release stands there");
            }
        }
        self.pids += 1;
        let mut instance = FakeInstance {
            release,
            intent,
            pid: 0,
            started_ms: now_ms,
            ready_ms: now_ms,
            dies_ms: None,
            restarts: 0,
            keep_running,
            exited_ms: None,
            quiet: false,
            hangs_until_ms: 0,
        };
        begin(&mut instance, self.pids, self.traits(release), now_ms);
        self.instances.insert(server.clone(), instance);
        Ok(())
    }

    /// A worker takes no new work; when it is done it ends for good. Every second one has so much
    /// to do that it never is.
    pub(super) fn quiet(&mut self, server: &ServerName, now_ms: u64) -> Result<(), &'static str> {
        let there = self.instances.get_mut(server);
        let there = there.filter(|there| there.is_running());
        let there = there.ok_or("nothing runs there")?;
        there.quiet = true;
        if there.pid % 2 == 0 {
            there.dies_ms = Some(now_ms + DONE_MS);
        }
        there.keep_running = false;
        Ok(())
    }

    pub(super) fn stop(&mut self, server: &ServerName) {
        self.instances.remove(server);
    }

    /// One process is killed.
    pub(super) fn kill(&mut self, server: &ServerName, now_ms: u64) {
        if let Some(instance) = self.instances.get_mut(server) {
            instance.dies_ms = Some(now_ms);
        }
    }

    pub(super) fn hang(&mut self, server: &ServerName, until_ms: u64) {
        if let Some(instance) = self.instances.get_mut(server) {
            instance.hangs_until_ms = until_ms;
        }
    }

    /// The runtime itself restarts: all processes end, the recorded set is started again.
    pub(super) fn restart(&mut self, now_ms: u64) {
        self.epoch += 1;
        let truth = &self.truth;
        for instance in self.instances.values_mut().filter(|i| i.is_running()) {
            self.pids += 1;
            let traits = truth.get(&instance.release).copied();
            begin(instance, self.pids, traits.unwrap_or(Traits::GOOD), now_ms);
        }
    }

    pub(super) fn reading(&self) -> RuntimeReading {
        let view = |instance: &FakeInstance| InstanceView {
            pid: if instance.is_running() {
                instance.pid
            } else {
                0
            },
            started_ms: instance.started_ms,
            restarts: instance.restarts,
            keep_running: instance.keep_running,
            exited: instance.exited_ms.map(|_| "exit status 1".into()),
            quiet: instance.quiet,
            ..InstanceView::of(instance.release)
        };
        RuntimeReading {
            epoch: format!("r{}", self.epoch),
            software: "a simulated runtime".into(),
            instances: self
                .instances
                .iter()
                .map(|(server, instance)| (server.clone(), view(instance)))
                .collect(),
        }
    }
}

fn begin(instance: &mut FakeInstance, pid: u32, traits: Traits, now_ms: u64) {
    instance.pid = pid;
    instance.started_ms = now_ms;
    instance.ready_ms = now_ms + traits.ready_after_ms;
    instance.dies_ms = traits.dies_after_ms.map(|after| now_ms + after);
    instance.exited_ms = None;
    instance.quiet = false;
}

//! The set of instances: which exist, what is wanted of each, and their logs.
//!
//! Holds the set together with its record on disk. Must not know HTTP or who asks, nor how one
//! process is kept: that is [`instance`].

mod instance;
mod spawn;

use super::logs::{Log, LogFiles};
use super::process;
use super::store::{RecordedInstance, Store, StoreError, private_dir};
use super::wire::{LogBody, StartBody};
use crate::model::service::QuietSignal;
use crate::model::world::RuntimeReading;
use crate::model::{Clean, Placement, ServerName};
use crate::ports::Start;
use instance::Instance;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Most servers the host keeps instances and logs for; each may hold a megabyte of log.
pub const SERVERS_MAX: usize = 256;
/// For the first attempt to start a process and for recording it.
const BEGIN_DEADLINE: Duration = Duration::from_secs(2);
/// Between the polite and the final signal to what a dead host left. Short: nothing is served
/// while it passes.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);

/// Which instance: a placement's, behind a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The placement.
    pub placement: Placement,
    /// The server.
    pub server: ServerName,
}

/// Why the set stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// Something else stands there.
    #[error("server {server} of {placement} {what}")]
    Taken {
        /// The placement.
        placement: Placement,
        /// The server.
        server: ServerName,
        /// What stands there, and the mend.
        what: Clean,
    },
    /// The limit is reached.
    #[error("this host keeps at most {SERVERS_MAX} servers; use a second host")]
    Full,
    /// The start makes no sense.
    #[error("the command of {placement} is empty; name a program")]
    NoCommand {
        /// The placement.
        placement: Placement,
    },
    /// Nobody runs there.
    #[error("nothing runs behind server {server} of {placement}; read it again")]
    Nobody {
        /// The placement.
        placement: Placement,
        /// The server.
        server: ServerName,
    },
    /// A place for its log could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It did not end in time.
    #[error("server {server} of {placement} has not ended yet; read it again")]
    Slow {
        /// The placement.
        placement: Placement,
        /// The server.
        server: ServerName,
    },
}

/// One server's place: who stands there, and its log, which outlives them.
#[derive(Debug)]
struct Slot {
    instance: Option<Arc<Instance>>,
    log: Arc<Log>,
}

/// Keeps instances.
#[derive(Debug)]
pub struct Supervisor {
    epoch: String,
    log_dir: PathBuf,
    files: LogFiles,
    store: Arc<Store>,
    slots: Mutex<BTreeMap<Key, Slot>>,
    tasks: TaskTracker,
    keep_records: AtomicBool,
}

/// What a start meets.
enum Place {
    /// Nobody: this instance was put there.
    Taken(Arc<Instance>),
    /// The same instance.
    Same(Arc<Instance>),
    /// One that has ended and must be forgotten first.
    Ended(Arc<Instance>),
}

impl Supervisor {
    /// An empty set that logs below `log_dir`.
    pub fn new(epoch: String, log_dir: PathBuf, files: LogFiles, store: Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            log_dir,
            files,
            store,
            slots: Mutex::default(),
            tasks: TaskTracker::new(),
            keep_records: AtomicBool::new(false),
        })
    }

    /// Ends what the last host left, then starts what it had recorded.
    pub async fn restore(self: &Arc<Self>) {
        let recorded = self.store.recorded().instances;
        let ends = recorded
            .iter()
            .map(|one| process::end_leftover(one.process, one.run, LEFTOVER_GRACE));
        futures::future::join_all(ends).await;
        self.store.change(|record| record.instances.clear());
        let starts = recorded.into_iter().map(|one| async {
            let key = format!("{} {}", one.placement, one.server);
            if let Err(error) = self.restore_one(one).await {
                tracing::error!(%error, key, "an instance could not be restored");
            }
        });
        futures::future::join_all(starts).await;
    }

    async fn restore_one(self: &Arc<Self>, one: RecordedInstance) -> Result<(), SetError> {
        let start = one.start.at(one.placement, one.server);
        self.start_unless(start, one.exited).await
    }

    /// Starts an instance, or brings the restart policy of the running one up to date.
    ///
    /// # Errors
    /// When another release stands there, or there is no room.
    pub async fn start(self: &Arc<Self>, start: Start) -> Result<(), SetError> {
        self.start_unless(start, None).await
    }

    async fn start_unless(
        self: &Arc<Self>,
        start: Start,
        exited: Option<Clean>,
    ) -> Result<(), SetError> {
        if start.workload.command.is_empty() {
            let placement = start.placement;
            return Err(SetError::NoCommand { placement });
        }
        let dir = self.log_dir.join(start.placement.to_string());
        private_dir(&dir)?;
        let instance = loop {
            match self.place(&start, exited.clone())? {
                Place::Taken(instance) => {
                    let supervisor = Arc::clone(self);
                    self.tasks.spawn(supervisor.live(Arc::clone(&instance)));
                    break instance;
                }
                Place::Same(instance) => break instance,
                Place::Ended(instance) => self.end(&instance, Duration::ZERO).await?,
            }
        };
        let begun = async {
            instance.begun.cancelled().await;
            let change = self.store.change(|_| {});
            self.store.is_saved(change).await
        };
        match timeout(BEGIN_DEADLINE, begun).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::error!(%why, "an instance runs that is not recorded"),
            Err(_) => tracing::error!("an instance is slow to begin or to be recorded"),
        }
        Ok(())
    }

    /// Finds or makes the instance a start asks for.
    fn place(&self, start: &Start, exited: Option<Clean>) -> Result<Place, SetError> {
        let key = Key {
            placement: start.placement.clone(),
            server: start.server.clone(),
        };
        let mut slots = self.lock();
        let taken = |what: String| SetError::Taken {
            placement: key.placement.clone(),
            server: key.server.clone(),
            what: Clean::new(&what),
        };
        if let Some(there) = slots.get(&key).and_then(|slot| slot.instance.as_ref()) {
            if there.is_stopping() {
                return Err(taken(
                    "is being stopped; try again when it has ended".into(),
                ));
            }
            let view = there.view();
            if view.release == start.release && (there.is_wanted() || there.start.id == start.id) {
                there.set_keep_running(start.keep_running);
                self.note(there);
                return Ok(Place::Same(Arc::clone(there)));
            }
            if !there.is_wanted() {
                return Ok(Place::Ended(Arc::clone(there)));
            }
            return Err(taken(format!(
                "still holds release {}; stop that first",
                view.release
            )));
        }
        if !slots.contains_key(&key) && slots.len() >= SERVERS_MAX {
            return Err(SetError::Full);
        }
        let slot = slots.entry(key).or_insert_with(|| self.slot(start));
        let instance = Instance::new(start.clone(), Arc::clone(&slot.log), exited);
        slot.instance = Some(Arc::clone(&instance));
        self.note(&instance);
        Ok(Place::Taken(instance))
    }

    fn slot(&self, start: &Start) -> Slot {
        let path = self
            .log_dir
            .join(start.placement.to_string())
            .join(format!("{}.log", start.server));
        Slot {
            instance: None,
            log: Arc::new(Log::new(self.files.file(path))),
        }
    }

    /// One instance's life, from its place in the set to its end.
    async fn live(self: Arc<Self>, instance: Arc<Instance>) {
        instance.run(|instance| self.note(instance)).await;
        self.forget(&instance);
        instance.ended.cancel();
    }

    fn forget(&self, instance: &Arc<Instance>) {
        let key = instance.key();
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(&key)
            && slot
                .instance
                .as_ref()
                .is_some_and(|there| Arc::ptr_eq(there, instance))
        {
            slot.instance = None;
        }
        if self.keep_records.load(Ordering::Relaxed) {
            return;
        }
        self.store.change(|record| {
            record.instances.retain(|one| one.run != instance.run);
        });
    }

    /// Brings an instance's record up to date.
    fn note(&self, instance: &Instance) {
        let body = StartBody {
            keep_running: instance.view().keep_running,
            ..StartBody::of(&instance.start)
        };
        let one = RecordedInstance {
            placement: instance.start.placement.clone(),
            server: instance.start.server.clone(),
            start: body,
            run: instance.run,
            process: instance.process(),
            exited: instance.final_exit(),
        };
        self.store.change(|record| {
            record.instances.retain(|other| other.run != one.run);
            record.instances.push(one);
        });
    }

    /// Stops an instance and forgets it; one that is not there is forgotten already.
    ///
    /// # Errors
    /// When it has not ended within the grace and the time the final signal needs.
    pub async fn stop(&self, key: &Key, grace: Duration) -> Result<(), SetError> {
        let there = self.lock().get(key).and_then(|slot| slot.instance.clone());
        match there {
            Some(instance) => self.end(&instance, grace).await,
            None => Ok(()),
        }
    }

    /// Tells a worker to take no new work, once; when it ends it is not started again.
    ///
    /// # Errors
    /// When nothing runs there.
    pub fn quiet(&self, key: &Key, signal: QuietSignal) -> Result<(), SetError> {
        let there = self.lock().get(key).and_then(|slot| slot.instance.clone());
        let nobody = || SetError::Nobody {
            placement: key.placement.clone(),
            server: key.server.clone(),
        };
        let instance = there.ok_or_else(nobody)?;
        let told = instance.quiet(signal);
        self.note(&instance);
        told.then_some(()).ok_or_else(nobody)
    }

    async fn end(&self, instance: &Instance, grace: Duration) -> Result<(), SetError> {
        instance.stop(grace);
        let deadline = grace + process::KILL_DEADLINE;
        timeout(deadline, instance.ended.cancelled())
            .await
            .map_err(|_| SetError::Slow {
                placement: instance.start.placement.clone(),
                server: instance.start.server.clone(),
            })
    }

    /// Stops every instance, each with its own grace. With `keep_records` the next host starts
    /// them again.
    pub async fn shut_down(&self, keep_records: bool) {
        self.keep_records.store(keep_records, Ordering::Relaxed);
        let all: Vec<Arc<Instance>> = self
            .lock()
            .values()
            .filter_map(|slot| slot.instance.clone())
            .collect();
        let ends = all.iter().map(|instance| {
            let grace = Duration::from_millis(instance.start.workload.stop_grace_ms);
            self.end(instance, grace)
        });
        for error in futures::future::join_all(ends)
            .await
            .iter()
            .filter_map(|end| end.as_ref().err())
        {
            tracing::error!(%error, "an instance outlives the host");
        }
        self.tasks.close();
    }

    /// The placement's instances.
    pub fn reading(&self, placement: &Placement) -> RuntimeReading {
        let slots = self.lock();
        let instances = slots
            .iter()
            .filter(|(key, _)| key.placement == *placement)
            .filter_map(|(key, slot)| Some((key.server.clone(), slot.instance.as_ref()?.view())))
            .collect();
        RuntimeReading {
            epoch: self.epoch.clone(),
            software: super::software(),
            instances,
        }
    }

    /// Placements that have instances, and how many instances there are.
    pub fn summary(&self) -> (Vec<Placement>, usize) {
        let slots = self.lock();
        let kept = slots.iter().filter(|(_, slot)| slot.instance.is_some());
        let placements: BTreeSet<&Placement> =
            kept.clone().map(|(key, _)| &key.placement).collect();
        (placements.into_iter().cloned().collect(), kept.count())
    }

    /// A server's log from a position on; `None` when nothing ever stood there.
    pub fn logs(&self, key: &Key, from: u64) -> Option<LogBody> {
        let log = self.lock().get(key).map(|slot| Arc::clone(&slot.log))?;
        Some(log.page(from))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Slot>> {
        self.slots
            .lock()
            .expect("invariant: nothing panics under the set's lock")
    }
}

/// A new run's identity.
fn new_run() -> Uuid {
    Uuid::now_v7()
}

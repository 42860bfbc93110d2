//! The engine as the socket sees it: requests in, replies out.
//!
//! Must not know who may ask for what: that is judged at the door.

mod back;
mod pipeline;
mod slots;

use super::World;
use super::leases::Elsewhere;
use super::reload::Reload;
use crate::config::Loaded;
use crate::driver::{Clock, Closed, EngineHandle, Peers, Refit};
use crate::history::{HistoryError, HistoryReader, RolloutRef};
use crate::link::wire::{CommandRequest, Reply, Request};
use crate::link::{EngineSide, ServerHello, Trouble};
use crate::model::command::{Answer, Command, Refusal};
use crate::model::{Actor, BalancerName, Clean, Entry, Placement, Record, Roles, ServerName};
use crate::ports::Runtime as _;
use crate::view::Snapshot;
use crate::view::snapshot::Attached;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How often leases are looked at besides before each write.
const LEASES_EVERY: Duration = Duration::from_secs(1);

/// The engine as the socket sees it.
pub(in crate::cli) struct Side {
    pub(super) handle: EngineHandle,
    /// How everything is reached by hand, for the runbooks.
    pub(super) by_hand: watch::Sender<crate::runbook::Access>,
    /// What callers are told of it.
    pub(super) hello: watch::Sender<ServerHello>,
    /// Who may do what.
    pub(super) roles: watch::Sender<Roles>,
    pub(super) refits: mpsc::Sender<Refit<World>>,
    /// One reload at a time.
    pub(super) reloading: tokio::sync::Mutex<()>,
    /// The configuration in force and the adapters made of it; held for an instant only.
    pub(super) current: RwLock<(Arc<Loaded>, World)>,
    pub(super) clock: Clock,
    pub(super) state_dir: PathBuf,
    /// Cancelled when somebody asks the engine to stop.
    pub(in crate::cli) stop: CancellationToken,
}

impl EngineSide for Side {
    fn snapshot(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.handle.snapshots()
    }

    async fn ask(&self, by: Actor, request: Request) -> Reply {
        match self.reply(by, request).await {
            Ok(reply) => reply,
            Err(text) => Reply::Error { text },
        }
    }

    async fn denied(&self, by: Actor, command: CommandRequest, why: Clean) -> Reply {
        let refusal = Refusal::Forbidden { why };
        let placement = command.placement().clone();
        let told = self.handle.deny(by, placement, command.verb(), refusal);
        match told.await {
            Ok(answer) => Reply::Answer { answer },
            Err(closed) => Reply::Error {
                text: Clean::new(&closed.to_string()),
            },
        }
    }

    fn attached(&self, consoles: Vec<Attached>) {
        self.handle.attached(consoles);
    }

    fn trouble(&self, trouble: Trouble) {
        tracing::warn!("{trouble}");
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}

impl Side {
    fn current(&self) -> std::sync::RwLockReadGuard<'_, (Arc<Loaded>, World)> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration in force.
    pub(super) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.current().0)
    }

    pub(super) fn world(&self) -> World {
        self.current().1.clone()
    }

    pub(super) fn replace(&self, loaded: Arc<Loaded>, world: World) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = (loaded, world);
    }

    /// Comes back once the engine's loop has turned.
    pub(in crate::cli) async fn beat(&self) -> Result<(), Closed> {
        self.handle.beat().await
    }

    /// Why a command cannot be followed here: another engine steers what it is about. A note
    /// steers nothing.
    async fn not_steered(&self, command: &CommandRequest) -> Option<Clean> {
        if matches!(command, CommandRequest::Note { .. }) {
            return None;
        }
        let leases = Arc::clone(&self.world().leases);
        let placement = command.placement();
        let checked = match command {
            // Traffic goes back, and stays where it is, whoever has the instances.
            CommandRequest::Abort { .. } | CommandRequest::Hold { .. } => {
                leases.may_move_traffic(placement).await
            }
            _ => leases.steers(placement).await,
        };
        checked.err()
    }

    /// Gives back what another engine could not see to be free.
    pub(in crate::cli) async fn release_leases(&self) {
        self.world().leases.release().await;
    }

    /// Takes the leases that are free, verifies those that are held, and tells screens what is
    /// left to look at only; for ever.
    pub(in crate::cli) async fn keep_leases(&self) {
        let mut told = Vec::new();
        loop {
            let found = self.world().leases.read_only().await;
            if found != told {
                found.iter().for_each(|row| tracing::warn!("{}", row.why));
                self.handle.read_only(found.clone());
                told = found;
            }
            tokio::time::sleep(LEASES_EVERY).await;
        }
    }

    /// Takes a balancer, or a daemon, from the engine that has it, once that is recorded.
    async fn take_over(
        &self,
        by: Actor,
        name: BalancerName,
        reason: Clean,
    ) -> Result<Reply, Clean> {
        let leases = Arc::clone(&self.world().leases);
        let Elsewhere {
            balancer,
            runtime,
            from,
        } = leases.held_elsewhere(&name).await?;
        let entry = Entry::LeaseTaken {
            balancer,
            runtime,
            from: from.clone(),
            reason,
        };
        let recorded = self.handle.record(by, entry).await;
        if let Answer::Refused(refusal) = recorded.map_err(|e| Clean::new(&e.to_string()))? {
            return Err(Clean::new(&refusal.to_string()));
        }
        let taken = leases.take_over(&name).await;
        taken.map_err(|error| Clean::new(&format!("{name} was not taken over: {error}")))?;
        self.handle.read_only(leases.read_only().await);
        Ok(Reply::TakenOver { from })
    }

    async fn reply(&self, by: Actor, request: Request) -> Result<Reply, Clean> {
        let text = |error: &dyn std::error::Error| Clean::new(&error.to_string());
        match request {
            Request::Command { command } => {
                if let Some(why) = self.not_steered(&command).await {
                    let placement = command.placement().clone();
                    let refusal = Refusal::NotNow { why };
                    let told = self.handle.deny(by, placement, command.verb(), refusal);
                    let answer = told.await.map_err(|e| text(&e))?;
                    return Ok(Reply::Answer { answer });
                }
                let command = self.fill(command)?;
                if let Some(answer) = self.already_begun(&command).await? {
                    return Ok(Reply::Answer { answer });
                }
                let answer = self
                    .handle
                    .command(by, command)
                    .await
                    .map_err(|e| text(&e))?;
                Ok(Reply::Answer { answer })
            }
            Request::Preview { command } => self.preview(by, command, false).await,
            Request::DryRun { command } => self.preview(by, command, true).await,
            Request::Snapshot | Request::Watch => Ok(Reply::Snapshot {
                snapshot: self.handle.snapshots().borrow().clone(),
            }),
            Request::History { limit } => {
                let rows = self
                    .read(move |reader| reader.list(limit.min(1_000)))
                    .await?;
                Ok(Reply::History { rows })
            }
            Request::Show { id } => self.show(&id).await,
            Request::Logs {
                placement,
                server,
                from,
            } => self.logs(&placement, &server, from).await,
            Request::MonitorBlueGreen {
                placement,
                blue_id,
                green_id,
            } => self.monitor(&placement, [&blue_id, &green_id]).await,
            Request::TriggerPipeline { .. }
            | Request::CancelPipeline { .. }
            | Request::ConfirmStage { .. }
            | Request::GetPipelineStatus { .. }
            | Request::Pipelines { .. }
            | Request::StageLogs { .. } => self.pipeline(by, request).await,
            Request::Unknown => Err("this engine does not know that request".into()),
            Request::TakeOver { balancer, reason } => self.take_over(by, balancer, reason).await,
            Request::Reload { dry_run: true } => self.reload(by, Reload::DryRun).await,
            Request::Reload { dry_run: false } => self.reload(by, Reload::Apply).await,
            Request::Stop => {
                self.stop.cancel();
                Ok(Reply::Done)
            }
        }
    }

    /// The answer to a deploy whose request id is in the history. The driver knows the newest
    /// ones, those on their way to the disk too; this knows all others.
    async fn already_begun(&self, command: &Command) -> Result<Option<Answer>, Clean> {
        let Command::Deploy {
            spec,
            version,
            request_id: Some(id),
            ..
        } = command
        else {
            return Ok(None);
        };
        let id = id.clone();
        let found = self.read(move |reader| reader.requested(&id)).await?;
        Ok(found.map(|begun| {
            let checked = begun.check(&spec.placement, version);
            checked.map_or_else(Answer::Refused, |number| Answer::Begun { number })
        }))
    }

    async fn preview(
        &self,
        by: Actor,
        command: CommandRequest,
        to_the_end: bool,
    ) -> Result<Reply, Clean> {
        let placement = command.placement().clone();
        let command = self.fill(command)?;
        let preview = self.handle.preview(placement, by, command, to_the_end);
        let preview = preview.await;
        let preview = preview.map_err(|error| Clean::new(&error.to_string()))?;
        Ok(Reply::Preview {
            preview: Box::new(preview),
        })
    }

    /// Fills in what the engine's own configuration says.
    fn fill(&self, command: CommandRequest) -> Result<Command, Clean> {
        let loaded = self.loaded();
        let spec = |placement: &Placement| {
            loaded
                .config
                .spec(&placement.service, &placement.environment)
                .map(|spec| Box::new(spec.clone()))
                .map_err(|error| Clean::new(&error.to_string()))
        };
        Ok(match command {
            CommandRequest::Deploy {
                placement,
                version,
                reason,
                request_id,
            } => Command::Deploy {
                spec: spec(&placement)?,
                version,
                reason,
                request_id,
            },
            CommandRequest::Rollback {
                placement,
                to,
                reason,
                urgency,
            } => Command::Rollback {
                spec: spec(&placement)?,
                to,
                reason,
                urgency,
            },
            CommandRequest::RollbackDeployment {
                placement,
                id,
                reason,
                urgency,
            } => {
                back::check(&self.handle.snapshots().borrow(), &placement, &id)?;
                Command::Rollback {
                    spec: spec(&placement)?,
                    to: None,
                    reason: Some(reason),
                    urgency,
                }
            }
            CommandRequest::Promote {
                placement,
                to,
                revision,
            } => Command::Promote {
                placement,
                to,
                revision,
            },
            CommandRequest::Hold { placement, reason } => Command::Hold { placement, reason },
            CommandRequest::Resume {
                placement,
                revision,
            } => Command::Resume {
                placement,
                revision,
            },
            CommandRequest::Abort { placement, reason } => Command::Abort { placement, reason },
            CommandRequest::Restart { placement, reason } => Command::Restart { placement, reason },
            CommandRequest::Scale {
                placement,
                instances,
                reason,
            } => Command::Scale {
                placement,
                instances,
                reason,
            },
            CommandRequest::Drain {
                placement,
                server,
                reason,
            } => Command::Drain {
                placement,
                server,
                reason,
            },
            CommandRequest::Undrain { placement, server } => Command::Undrain { placement, server },
            CommandRequest::Drill { placement, reason } => Command::Drill { placement, reason },
            CommandRequest::Note { placement, text } => Command::Note { placement, text },
            CommandRequest::DeployGreen {
                placement,
                version,
                reason,
                request_id,
            } => Command::Deploy {
                spec: slots::only_with_slots(spec(&placement)?)?,
                version,
                reason,
                request_id,
            },
            CommandRequest::SwitchTraffic {
                placement,
                green_id,
                revision,
            } => slots::switch(
                &self.handle.snapshots().borrow(),
                placement,
                &green_id,
                revision,
            )?,
        })
    }

    async fn show(&self, id: &str) -> Result<Reply, Clean> {
        let which: RolloutRef = id
            .parse()
            .map_err(|error: crate::history::RolloutRefError| Clean::new(&error.to_string()))?;
        let unknown = Clean::new(&format!("the history knows no rollout {id}"));
        let found = self.read(move |reader| reader.show(which)).await?;
        let (row, mut records) = found.ok_or(unknown)?;
        let first = records.len().saturating_sub(RECORDS_MAX);
        records.drain(..first);
        shorten_output(&mut records);
        Ok(Reply::Show { row, records })
    }

    async fn logs(
        &self,
        placement: &Placement,
        server: &ServerName,
        from: u64,
    ) -> Result<Reply, Clean> {
        let unplaced = || Clean::new(&format!("{placement} is not in the configuration"));
        let (loaded, world) = (self.loaded(), self.world());
        let spec = loaded
            .config
            .spec(&placement.service, &placement.environment)
            .map_err(|_| unplaced())?;
        let runtime = spec.runtime_of(server).and_then(|name| world.runtime(name));
        let page = runtime
            .ok_or_else(unplaced)?
            .logs(placement, server, from)
            .await;
        let page = page.map_err(|error| error.0)?;
        Ok(Reply::Logs {
            next: page.next,
            skipped: page.skipped,
            lines: page.lines,
        })
    }

    /// Reads the history beside the driver, which must not wait for a disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&HistoryReader) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, Clean> {
        let dir = self.state_dir.clone();
        let job = move || HistoryReader::open(&dir).and_then(|reader| read(&reader));
        let done = tokio::task::spawn_blocking(job).await;
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(crate::history::sentence(&error)),
            Err(_) => Err("reading the history failed".into()),
        }
    }
}

/// Records one reply carries at most; the frame must stay below its limit.
const RECORDS_MAX: usize = 200;

/// Bytes of output that the evidence in one reply carries together; the history holds all.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

fn shorten_output(records: &mut [Record]) {
    let mut all: Vec<_> = records
        .iter_mut()
        .filter_map(|record| match &mut record.entry {
            Entry::EvidenceKept { evidence, .. } => Some(evidence),
            _ => None,
        })
        .collect();
    let each = OUTPUT_BYTES_MAX / all.len().max(1);
    all.iter_mut().for_each(|evidence| evidence.trim_log(each));
}

//! Tasks and timers around [`fn@turn`]: it alone owns State and World; effects run in workers, the
//! history in its own thread, and both report back as inputs.

mod publish;

use super::handle::{EngineHandle, Message};
use super::hints::Hints;
use super::work::{self, Peers};
use super::{Clock, Core, turn};
use crate::engine;
use crate::history::{HistoryError, HistoryWriter};
use crate::model::command::{Answer, Command, Refusal};
use crate::model::effect::EffectKey;
use crate::model::input::{Asked, Denied, EngineInfo, Fact, Settled};
use crate::model::{
    Action, Actor, Clean, Effect, EffectId, Entry, Event, Input, Outcome, Placement, Record,
    ReleaseId, RolloutId, State, World,
};
use crate::view::snapshot::{Attached, EngineView, ReadOnly, Snapshot, TimelineRow};
use crate::view::{self, About, Asking, Preview};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Requests of people that may wait for a turn; a turn takes well under a millisecond.
const MESSAGES_MAX: usize = 256;
/// The history has at most a handful of requests under way, and answers each once.
const ANSWERS_MAX: usize = 32;
/// Deploys whose balancers are being looked over; further requests wait.
const LOOKS_MAX: usize = 8;
/// Lines of the timeline kept for screens.
const TIMELINE_MAX: usize = 200;
/// How long effects under way may take to end when the engine ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a shell starts with.
#[derive(Debug)]
pub struct ShellOptions {
    /// The state the history led to.
    pub state: State,
    /// The newest records, for the timeline.
    pub recent: Vec<Record>,
    /// Who this engine is.
    pub info: EngineInfo,
    /// What is configured.
    pub configured: Vec<About>,
    /// The open history.
    pub history: HistoryWriter,
}

/// What a shell works with from now on, after its configuration was read anew.
#[derive(Debug)]
pub struct Refit<P> {
    /// Everything it can reach.
    pub peers: P,
    /// What is configured.
    pub configured: Vec<About>,
    /// SHA-256 (hex) of the configuration.
    pub config_hash: String,
}

/// The engine's task.
pub struct Shell<P> {
    core: Core,
    clock: Clock,
    started_ms: u64,
    peers: Arc<P>,
    info: EngineInfo,
    configured: Vec<About>,
    history: HistoryWriter,
    from_history: mpsc::Receiver<Event>,
    to_self: mpsc::Sender<Event>,
    work: JoinSet<Settled>,
    looks: JoinSet<Option<(Vec<Event>, Message)>>,
    hints: Hints,
    flights: HashMap<Id, (u64, EffectKey, Option<EffectId>)>,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    /// Answers that wait for the snapshot that shows them.
    due: Vec<(u64, Answer)>,
    requests: u64,
    appending: Vec<Record>,
    wake: Option<Instant>,
    timeline: VecDeque<TimelineRow>,
    consoles: Vec<Attached>,
    read_only: Vec<ReadOnly>,
    publish: watch::Sender<Arc<Snapshot>>,
    states: watch::Sender<Arc<State>>,
    publish_at: Option<Instant>,
    published: Instant,
    messages: mpsc::Receiver<Message>,
    aborts: mpsc::Receiver<Message>,
    refits: mpsc::Receiver<Refit<P>>,
    /// Kept, so that there may always be another one.
    refit: mpsc::Sender<Refit<P>>,
}

impl<P: Peers> Shell<P> {
    /// Makes the engine's task and a handle to it. Nothing happens until [`Shell::run`].
    pub fn new(options: ShellOptions, peers: P) -> (Self, EngineHandle) {
        let clock = Clock::start(options.state.at_ms);
        let (to_self, from_history) = mpsc::channel(ANSWERS_MAX);
        let (message_sender, messages) = mpsc::channel(MESSAGES_MAX);
        let (abort_sender, aborts) = mpsc::channel(1);
        let (refit, refits) = mpsc::channel(1);
        let timeline = options
            .recent
            .iter()
            .filter_map(|record| view::timeline_row(&options.state, record))
            .collect();
        let blank = Snapshot {
            engine: EngineView {
                info: options.info.clone(),
                now_ms: clock.now_ms(),
                started_ms: clock.now_ms(),
                seq: options.state.seq,
                history_trouble: None,
                newer: options.state.newer,
                consoles: Vec::new(),
                read_only: Vec::new(),
                timeline: Vec::new(),
            },
            placements: Vec::new(),
            // Whoever clears up behind runs goes by the first snapshot too.
            runs: view::pipeline::runs(&options.state, &World::default()),
        };
        let (publish, snapshots) = watch::channel(Arc::new(blank));
        let (states, state_receiver) = watch::channel(Arc::new(options.state.clone()));
        let shell = Self {
            core: Core::new(options.state),
            started_ms: clock.now_ms(),
            clock,
            peers: Arc::new(peers),
            info: options.info,
            configured: options.configured,
            history: options.history,
            from_history,
            to_self,
            work: JoinSet::new(),
            looks: JoinSet::new(),
            hints: Hints::default(),
            flights: HashMap::new(),
            answers: HashMap::new(),
            due: Vec::new(),
            requests: 0,
            appending: Vec::new(),
            wake: None,
            timeline,
            consoles: Vec::new(),
            read_only: Vec::new(),
            publish,
            states,
            publish_at: None,
            published: Instant::now(),
            messages,
            aborts,
            refits,
            refit,
        };
        let handle = EngineHandle {
            messages: message_sender,
            aborts: abort_sender,
            snapshots,
            states: state_receiver,
        };
        (shell, handle)
    }

    /// How this shell is given other peers while it runs. Effects under way end with those they
    /// began with.
    pub fn refits(&self) -> mpsc::Sender<Refit<P>> {
        self.refit.clone()
    }

    /// Drives until `shutdown`; then lets what is under way end, and closes the history. Rollouts
    /// stay as they are until an engine is started again.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.feed(Event::Started(self.info.clone()));
        self.publish_now();
        self.hints.watch(&self.peers);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(message) = self.aborts.recv() => self.take(message),
                Some(event) = self.from_history.recv() => self.feed(event),
                Some(ended) = self.work.join_next_with_id() => self.settle(ended),
                Some(refit) = self.refits.recv() => {
                    self.peers = Arc::new(refit.peers);
                    self.hints.watch(&self.peers);
                    self.configured = refit.configured;
                    self.info.config_hash = refit.config_hash;
                    self.publish_soon();
                }
                Some(looked) = self.looks.join_next() => self.looked(looked),
                Some(message) = self.messages.recv(), if self.looks.len() < LOOKS_MAX => {
                    self.look_or_take(message);
                }
                () = until(self.wake) => {
                    self.wake = None;
                    self.feed(Event::Wake);
                }
                () = until(self.publish_at) => self.publish_now(),
                // Last: a hint only asks for a look, and may come without end.
                hint = self.hints.next() => self.feed(hint),
            }
        }
        self.publish_now();
        let farewell = async { while self.work.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("effects were still under way when the engine ended");
        }
    }

    /// A deploy is decided on a fresh look at its balancers and runtimes; everything else at once.
    fn look_or_take(&mut self, message: Message) {
        let Some((spec, version)) = message.deploys() else {
            return self.take(message);
        };
        let (spec, version) = (spec.clone(), version.clone());
        let peers = Arc::clone(&self.peers);
        self.looks.spawn(async move {
            let found = work::look_over(&*peers, &spec, &version).await;
            Some((found, message))
        });
    }

    fn looked(&mut self, looked: Result<Option<(Vec<Event>, Message)>, tokio::task::JoinError>) {
        match looked {
            Ok(None) => {}
            Ok(Some((found, message))) => {
                for event in found {
                    self.feed(event);
                }
                self.take(message);
            }
            Err(error) => tracing::error!("looking over the peers: {error}"),
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Command {
                by,
                command,
                answer,
            } => {
                let asked = asked(self.expect_answer(answer), by, command);
                self.feed(Event::Command(asked));
            }
            Message::Preview {
                placement,
                by,
                command,
                to_the_end,
                answer,
            } => {
                let preview = self.preview(placement, by, command, to_the_end);
                if answer.send(preview).is_err() {
                    tracing::debug!("nobody waits for a preview any more");
                }
            }
            Message::Denied {
                by,
                placement,
                verb,
                refusal,
                answer,
            } => {
                let request = self.expect_answer(answer);
                self.feed(Event::Denied(Denied {
                    request,
                    by,
                    placement,
                    verb,
                    refusal,
                }));
            }
            Message::Fact { by, entry, answer } => {
                let request = self.expect_answer(answer);
                let entry = Box::new(entry);
                self.feed(Event::Fact(Fact { request, by, entry }));
            }
            Message::Beat(answer) => {
                if answer.send(()).is_err() {
                    tracing::debug!("nobody waits for the beat any more");
                }
            }
            Message::ReadOnly(rows) => {
                self.read_only = rows;
                self.publish_soon();
            }
            Message::Attached(consoles) => {
                self.consoles = consoles;
                self.publish_soon();
            }
        }
    }

    /// Remembers who waits for an answer, and under which number.
    fn expect_answer(&mut self, answer: oneshot::Sender<Answer>) -> u64 {
        self.requests += 1;
        self.answers.insert(self.requests, answer);
        self.requests
    }

    fn preview(
        &mut self,
        placement: Placement,
        by: Actor,
        command: Command,
        to_the_end: bool,
    ) -> Preview {
        let configured = &mut self.configured.iter();
        let about = configured.find(|about| about.placement == placement);
        let protected = about.is_none_or(|about| about.protected);
        let asking = Asking {
            placement,
            asked: asked(0, by, command),
            protected,
            to_the_end,
        };
        self.core.world.now_ms = self.core.world.now_ms.max(self.clock.now_ms());
        view::foretell(self.core.acting_state(), &self.core.world, &asking)
    }

    fn settle(&mut self, ended: Result<(Id, Settled), tokio::task::JoinError>) {
        let (task, settled) = match ended {
            Ok((task, settled)) => (task, Some(settled)),
            Err(error) => (error.id(), None),
        };
        let flight = self.flights.remove(&task);
        let lost = |(ticket, key, id)| {
            tracing::error!(?key, "a worker ended without an outcome");
            let why = "the worker ended without an outcome".into();
            Settled {
                ticket,
                key,
                id,
                outcome: Outcome::Unknown { why },
                seen: None,
            }
        };
        if let Some(settled) = settled.or_else(|| flight.map(lost)) {
            self.feed(Event::Settled(settled));
        }
    }

    fn feed(&mut self, event: Event) {
        let durable = matches!(event, Event::Appended { .. });
        let input = Input {
            now_ms: self.clock.now_ms(),
            event,
        };
        let actions = turn(&mut self.core, input);
        if durable {
            self.tell_timeline();
        }
        for action in actions {
            self.act(action);
        }
        self.publish_soon();
    }

    fn tell_timeline(&mut self) {
        let records = std::mem::take(&mut self.appending);
        if records.iter().any(|record| moves_traffic(&record.entry)) {
            self.states.send_replace(Arc::new(self.core.state.clone()));
        }
        for record in records {
            if let Some(row) = view::timeline_row(&self.core.state, &record) {
                tracing::info!(seq = row.seq, actor = %row.actor, "{}", row.text);
                self.timeline.push_back(row);
            }
        }
        while self.timeline.len() > TIMELINE_MAX {
            self.timeline.pop_front();
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Append(records) => self.append(records),
            Action::Start { ticket, effect, .. } => self.start(ticket, effect),
            Action::WakeAt(at_ms) => self.wake = Some(self.clock.instant(at_ms)),
            Action::Answer { request, answer } => self.answer(request, answer),
            Action::ReopenHistory => self.reopen(),
            Action::Say(text) => tracing::warn!("{text}"),
        }
    }

    fn start(&mut self, ticket: u64, effect: Effect) {
        let Some(key) = effect.key() else {
            return;
        };
        let id = effect.id();
        if effect.is_write() {
            tracing::debug!(ticket, "{}", view::effect_text(&effect));
        }
        let task = match effect {
            Effect::AskDeploy { id, .. } => self.ask_deploy(ticket, key.clone(), id, effect),
            effect => {
                let peers = Arc::clone(&self.peers);
                let key = key.clone();
                let job = async move { work::perform(&*peers, ticket, key, effect).await };
                self.work.spawn(job).id()
            }
        };
        self.flights.insert(task, (ticket, key, id));
    }

    /// Asks this very loop for the rollout that a stage is, as a console would, unless another
    /// engine steers what it is about.
    fn ask_deploy(&mut self, ticket: u64, key: EffectKey, id: EffectId, effect: Effect) -> Id {
        let (answer, answered) = oneshot::channel();
        let task = self.work.spawn(work::deployed(ticket, key, id, answered));
        let peers = Arc::clone(&self.peers);
        self.looks.spawn(async move {
            let permitted = peers.permit(&effect).await;
            let Effect::AskDeploy { by, command, .. } = effect else {
                return None;
            };
            if let Err(why) = permitted {
                // Nobody waits any more where the engine ends.
                let _ = answer.send(Answer::Refused(Refusal::NotNow { why }));
                return None;
            }
            let command = *command;
            let message = Message::Command {
                by,
                command,
                answer,
            };
            let (spec, version) = message.deploys()?;
            let found = work::look_over(&*peers, spec, version).await;
            Some((found, message))
        });
        task.id()
    }

    fn append(&mut self, records: Vec<Record>) {
        self.appending.clone_from(&records);
        let state_after = self.history.checkpoint_due(&records).then(|| {
            let mut state = self.core.state.clone();
            records
                .iter()
                .for_each(|record| engine::evolve(&mut state, record));
            Box::new(state)
        });
        let report = self.to_self.clone();
        let sent = self.history.append(records, state_after, move |done| {
            let event = match done.result {
                Ok(last) => Event::Appended { last },
                Err(error) => Event::AppendFailed {
                    why: crate::history::sentence(&error),
                },
            };
            tell(&report, event);
        });
        if let Err(error) = sent {
            let why = Clean::new(&error.to_string());
            tell(&self.to_self, Event::AppendFailed { why });
        }
    }

    fn reopen(&mut self) {
        let report = self.to_self.clone();
        let sent = self
            .history
            .reopen(move |done: Result<u64, HistoryError>| match done {
                Ok(last) => tell(&report, Event::HistoryReopened { last }),
                Err(error) => tracing::warn!("the history stays closed: {error}"),
            });
        if let Err(error) = sent {
            tracing::warn!("the history was not reopened: {error}");
        }
    }
}

/// Whether the way back to stable may be another one after this.
fn moves_traffic(entry: &Entry) -> bool {
    matches!(
        entry,
        Entry::RolloutStarted { .. }
            | Entry::RolloutFinished { .. }
            | Entry::WeightIntended { .. }
            | Entry::WeightAbandoned { .. }
            | Entry::InstanceIntended { .. }
            | Entry::InstanceUp { .. }
            | Entry::InstanceFailed { .. }
            | Entry::InstanceStopped { .. }
    )
}

fn asked(request: u64, by: Actor, command: Command) -> Asked {
    Asked {
        request,
        by,
        command,
        rollout: RolloutId(Uuid::now_v7()),
        release: ReleaseId(Uuid::now_v7()),
    }
}

/// Reports to the driver's own loop. The channel holds more than can be under way.
fn tell(report: &mpsc::Sender<Event>, event: Event) {
    if report.try_send(event).is_err() {
        tracing::error!("an answer of the history was lost: the engine is ending");
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

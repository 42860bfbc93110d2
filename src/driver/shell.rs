//! Tasks and timers around [`turn`]: it alone owns State and World; effects run in workers, the
//! history in its own thread, and both report back as inputs.

use super::handle::{EngineHandle, Message};
use super::work::{self, Peers};
use super::{Clock, Core, turn};
use crate::engine;
use crate::history::{HistoryError, HistoryWriter};
use crate::model::command::{Answer, Command};
use crate::model::effect::EffectKey;
use crate::model::input::{Asked, EngineInfo, Settled};
use crate::model::{
    Action, Actor, Clean, Effect, EffectId, Event, Input, Outcome, Record, ReleaseId, RolloutId,
    State,
};
use crate::view::snapshot::{Attached, EngineView, Snapshot, TimelineRow};
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
/// Between two published snapshots.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
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
    flights: HashMap<Id, (u64, EffectKey, Option<EffectId>)>,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    requests: u64,
    appending: Vec<Record>,
    wake: Option<Instant>,
    timeline: VecDeque<TimelineRow>,
    consoles: Vec<Attached>,
    publish: watch::Sender<Arc<Snapshot>>,
    publish_at: Option<Instant>,
    published: Instant,
    messages: mpsc::Receiver<Message>,
    aborts: mpsc::Receiver<Message>,
}

impl<P: Peers> Shell<P> {
    /// Makes the engine's task and a handle to it. Nothing happens until [`Shell::run`].
    pub fn new(options: ShellOptions, peers: P) -> (Self, EngineHandle) {
        let clock = Clock::start(options.state.at_ms);
        let (to_self, from_history) = mpsc::channel(ANSWERS_MAX);
        let (message_sender, messages) = mpsc::channel(MESSAGES_MAX);
        let (abort_sender, aborts) = mpsc::channel(1);
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
                timeline: Vec::new(),
            },
            placements: Vec::new(),
        };
        let (publish, snapshots) = watch::channel(Arc::new(blank));
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
            flights: HashMap::new(),
            answers: HashMap::new(),
            requests: 0,
            appending: Vec::new(),
            wake: None,
            timeline,
            consoles: Vec::new(),
            publish,
            publish_at: None,
            published: Instant::now(),
            messages,
            aborts,
        };
        let handle = EngineHandle {
            messages: message_sender,
            aborts: abort_sender,
            snapshots,
        };
        (shell, handle)
    }

    /// Drives until `shutdown`; then lets what is under way end, and closes the history. Rollouts
    /// stay as they are until an engine is started again.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.feed(Event::Started(self.info.clone()));
        self.publish_now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(message) = self.aborts.recv() => self.take(message),
                Some(event) = self.from_history.recv() => self.feed(event),
                Some(ended) = self.work.join_next_with_id() => self.settle(ended),
                Some(message) = self.messages.recv() => self.take(message),
                () = until(self.wake) => {
                    self.wake = None;
                    self.feed(Event::Wake);
                }
                () = until(self.publish_at) => self.publish_now(),
            }
        }
        let farewell = async { while self.work.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("effects were still under way when the engine ended");
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Command {
                by,
                command,
                answer,
            } => {
                self.requests += 1;
                self.answers.insert(self.requests, answer);
                let asked = asked(self.requests, by, command);
                self.feed(Event::Command(asked));
            }
            Message::Preview {
                by,
                command,
                to_the_end,
                answer,
            } => {
                let preview = self.preview(by, command, to_the_end);
                if answer.send(preview).is_err() {
                    tracing::debug!("nobody waits for a preview any more");
                }
            }
            Message::Attached(consoles) => {
                self.consoles = consoles;
                self.publish_soon();
            }
        }
    }

    fn preview(&mut self, by: Actor, command: Command, to_the_end: bool) -> Preview {
        let about = self
            .configured
            .iter()
            .find(|about| about.placement == *command.placement());
        let protected = about.is_none_or(|about| about.protected);
        let asking = Asking {
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
        for record in std::mem::take(&mut self.appending) {
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
            Action::Answer { request, answer } => {
                let asker = self.answers.remove(&request);
                if asker.is_some_and(|asker| asker.send(answer).is_err()) {
                    tracing::debug!(request, "nobody waits for the answer any more");
                }
            }
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
        let peers = Arc::clone(&self.peers);
        let job_key = key.clone();
        let job = async move { work::perform(&*peers, ticket, job_key, effect).await };
        let task = self.work.spawn(job).id();
        self.flights.insert(task, (ticket, key, id));
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

    fn publish_soon(&mut self) {
        self.publish_at
            .get_or_insert(self.published + PUBLISH_EVERY);
    }

    /// Publishes, unless nothing but times of readings changed and no rollout is open.
    fn publish_now(&mut self) {
        self.publish_at = None;
        self.published = Instant::now();
        let snapshot = self.snapshot();
        let busy = snapshot
            .placements
            .iter()
            .any(|view| view.rollout.is_some());
        let same = still(&snapshot) == still(&self.publish.borrow());
        if busy || !same {
            self.publish.send_replace(Arc::new(snapshot));
        }
    }

    fn snapshot(&self) -> Snapshot {
        let state = self.core.acting_state();
        Snapshot {
            engine: EngineView {
                info: self.info.clone(),
                now_ms: self.clock.now_ms(),
                started_ms: self.started_ms,
                seq: self.core.state.seq,
                history_trouble: self.core.history_trouble().cloned(),
                newer: state.newer,
                consoles: self.consoles.clone(),
                timeline: self.timeline.iter().cloned().collect(),
            },
            placements: view::placements(state, &self.core.world, &self.configured),
        }
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

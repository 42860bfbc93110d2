//! One turn of the engine's loop: an input goes in, actions come out.
//!
//! Synchronous and pure, so that the simulator drives the very loop that runs in production. The
//! order is always: see, fold what became durable, decide, append, and only when that is durable
//! act. While the history cannot be written, only what leads towards the last verified release
//! happens; it is decided on a shadow of the state and recorded after the gap.

mod trouble;

use crate::engine::{self, Direction};
use crate::model::command::{Answer, Command, Refusal};
use crate::model::effect::EffectKey;
use crate::model::input::{Asked, Settled};
use crate::model::{Action, Actor, Effect, Entry, Event, Input, Placement, Record, State, World};
use std::collections::{BTreeMap, VecDeque};
use trouble::Trouble;

/// Commands that may wait for the history; more are refused.
const WAITING_MAX: usize = 64;
/// After its deadline an effect's outcome may still arrive for this long; then it is given up.
const GRACE_MS: u64 = 2_000;
/// An append that takes longer lets an abort act before it is recorded.
const PATIENCE_MS: u64 = 250;

/// Everything the engine holds between two turns.
#[derive(Debug, Clone, Default)]
pub struct Core {
    /// What is durable.
    pub state: State,
    /// What is seen.
    pub world: World,
    in_flight: BTreeMap<EffectKey, InFlight>,
    tickets: u64,
    pending: Option<Pending>,
    waiting: VecDeque<Asked>,
    trouble: Option<Trouble>,
    wake_ms: Option<u64>,
}

#[derive(Debug, Clone)]
struct InFlight {
    ticket: u64,
    deadline_ms: u64,
}

/// Records on their way to the disk.
#[derive(Debug, Clone)]
struct Pending {
    records: Vec<Record>,
    asked: Option<Asked>,
    since_ms: u64,
}

impl Core {
    /// Starts from what the history holds.
    pub fn new(state: State) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    /// Why the history cannot be written; `None` while it can.
    pub fn history_trouble(&self) -> Option<&crate::model::Clean> {
        self.trouble.as_ref().map(|trouble| &trouble.why)
    }

    /// The state that is acted on: what is durable, and during trouble what had to be decided
    /// without being.
    pub fn acting_state(&self) -> &State {
        self.trouble
            .as_ref()
            .map_or(&self.state, |trouble| &trouble.shadow)
    }

    fn now_ms(&self) -> u64 {
        self.world.now_ms
    }
}

/// Takes in one input and says what is to be done about it.
pub fn turn(core: &mut Core, input: Input) -> Vec<Action> {
    let mut out = Vec::new();
    see(core, &input);
    match input.event {
        Event::Appended { last } => trouble::appended(core, last, &mut out),
        Event::AppendFailed { why } => trouble::append_failed(core, why, &mut out),
        Event::HistoryReopened { last } => trouble::reopened(core, last, &mut out),
        Event::Command(asked) => enqueue(core, asked, &mut out),
        Event::Started(_) => begin(core, &input, &mut out),
        Event::Settled(_) | Event::Wake => {}
    }
    trouble::lose_patience(core);
    advance(core, &mut out);
    act(core, &mut out);
    out
}

/// Observes the input. An outcome with an old ticket is late: it vouches for nothing, but says
/// that the target must be read again.
fn see(core: &mut Core, input: &Input) {
    match &input.event {
        Event::Settled(settled) if !is_expected(core, settled) => {
            core.world.now_ms = core.world.now_ms.max(input.now_ms);
            engine::observe::distrust(&mut core.world, &settled.key);
        }
        Event::Settled(settled) => {
            core.in_flight.remove(&settled.key);
            engine::observe(&mut core.world, input);
        }
        _ => engine::observe(&mut core.world, input),
    }
    give_up_the_silent(core);
}

fn is_expected(core: &Core, settled: &Settled) -> bool {
    let known = core.in_flight.get(&settled.key);
    known.is_some_and(|known| known.ticket == settled.ticket)
}

fn give_up_the_silent(core: &mut Core) {
    let now_ms = core.now_ms();
    let silent: Vec<_> = core
        .in_flight
        .iter()
        .filter(|(_, flight)| flight.deadline_ms + GRACE_MS <= now_ms)
        .map(|(key, _)| key.clone())
        .collect();
    for key in silent {
        core.in_flight.remove(&key);
        engine::observe::distrust(&mut core.world, &key);
    }
}

fn begin(core: &mut Core, input: &Input, out: &mut Vec<Action>) {
    let entries = engine::decide(&core.state, &core.world, input).unwrap_or_default();
    append(core, Actor::Engine, entries, None, out);
}

fn enqueue(core: &mut Core, asked: Asked, out: &mut Vec<Action>) {
    let urgent = matches!(asked.command, Command::Abort { .. });
    if core.waiting.len() >= WAITING_MAX && !urgent {
        let why = "too many commands are waiting; try again in a moment".into();
        let answer = Answer::Refused(Refusal::NotNow { why });
        out.push(Action::Answer {
            request: asked.request,
            answer,
        });
        return;
    }
    match urgent {
        true => core.waiting.push_front(asked),
        false => core.waiting.push_back(asked),
    }
}

/// Decides until something must become durable first, or nothing is due.
fn advance(core: &mut Core, out: &mut Vec<Action>) {
    if core.trouble.is_some() {
        return trouble::advance(core, out);
    }
    while core.pending.is_none() {
        let Some(asked) = core.waiting.pop_front() else {
            break;
        };
        carry_out(core, asked, out);
    }
    if core.pending.is_none() {
        let wake = Input {
            now_ms: core.now_ms(),
            event: Event::Wake,
        };
        let entries = engine::decide(&core.state, &core.world, &wake).unwrap_or_default();
        append(core, Actor::Engine, entries, None, out);
    }
}

fn carry_out(core: &mut Core, asked: Asked, out: &mut Vec<Action>) {
    let input = Input {
        now_ms: core.now_ms(),
        event: Event::Command(asked.clone()),
    };
    match engine::decide(&core.state, &core.world, &input) {
        Ok(entries) if entries.is_empty() => {
            let answer = already(&core.state, &asked.command);
            out.push(Action::Answer {
                request: asked.request,
                answer,
            });
        }
        Ok(entries) => append(core, asked.by.clone(), entries, Some(asked), out),
        Err(refusal) => refuse(core, asked, refusal, out),
    }
}

fn refuse(core: &mut Core, asked: Asked, refusal: Refusal, out: &mut Vec<Action>) {
    let (placement, verb) = (asked.command.placement(), asked.command.verb());
    let entry = engine::refusal_entry(&core.state, core.now_ms(), placement, verb, &refusal);
    append(
        core,
        asked.by.clone(),
        entry.into_iter().collect(),
        None,
        out,
    );
    let answer = Answer::Refused(refusal);
    out.push(Action::Answer {
        request: asked.request,
        answer,
    });
}

/// What an accepted command without entries found already done.
fn already(state: &State, command: &Command) -> Answer {
    let rollout = rollout_of(state, command.placement());
    let what = match (command, rollout) {
        (Command::Hold { .. }, Some(rollout)) => {
            let by = rollout
                .hold
                .as_ref()
                .and_then(|hold| engine::evolve::held_by(&hold.why));
            format!(
                "already held by {}",
                by.map_or("?".to_owned(), ToString::to_string)
            )
        }
        (Command::Resume { .. }, _) => "not held; it goes on by itself".to_owned(),
        _ => "traffic is on its way back to stable already".to_owned(),
    };
    Answer::Already {
        what: what.as_str().into(),
    }
}

fn rollout_of<'a>(state: &'a State, placement: &Placement) -> Option<&'a crate::model::Rollout> {
    state.placements.get(placement)?.rollout.as_ref()
}

/// Gives the entries their places in the order and asks for them to be made durable. Engine
/// entries that follow from a person's command (a weight, a finish) bear the person's name too.
fn append(
    core: &mut Core,
    actor: Actor,
    entries: Vec<Entry>,
    asked: Option<Asked>,
    out: &mut Vec<Action>,
) {
    let entries = entries
        .into_iter()
        .map(|entry| (actor.clone(), entry))
        .collect();
    append_as(core, entries, asked, out);
}

fn append_as(
    core: &mut Core,
    entries: Vec<(Actor, Entry)>,
    asked: Option<Asked>,
    out: &mut Vec<Action>,
) {
    if entries.is_empty() {
        return;
    }
    let (first, at_ms) = (core.state.seq + 1, core.now_ms());
    let records: Vec<_> = entries
        .into_iter()
        .zip(first..)
        .map(|((actor, entry), seq)| Record {
            seq,
            at_ms,
            actor,
            entry,
        })
        .collect();
    out.push(Action::Append(records.clone()));
    core.pending = Some(Pending {
        records,
        asked,
        since_ms: at_ms,
    });
}

/// Starts what is outstanding and not under way. Forward effects wait for everything pending to
/// be durable, for it may be an abort.
fn act(core: &mut Core, out: &mut Vec<Action>) {
    let only_safe = core.pending.is_some() || core.trouble.is_some();
    let mut wake_ms = alarm(core);
    for (direction, effect) in engine::plan(core.acting_state(), &core.world) {
        if let Effect::WakeAt { at_ms } = effect {
            wake_ms = Some(wake_ms.map_or(at_ms, |wake_ms: u64| wake_ms.min(at_ms)));
            continue;
        }
        let held_back = only_safe && direction == Direction::Forward;
        let Some(key) = effect.key().filter(|key| !core.in_flight.contains_key(key)) else {
            continue;
        };
        if held_back {
            continue;
        }
        core.tickets += 1;
        let (ticket, deadline_ms) = (core.tickets, core.now_ms() + effect.deadline_ms());
        core.in_flight.insert(
            key,
            InFlight {
                ticket,
                deadline_ms,
            },
        );
        out.push(Action::Start {
            ticket,
            effect,
            deadline_ms,
        });
    }
    if wake_ms != core.wake_ms {
        core.wake_ms = wake_ms;
        out.extend(wake_ms.map(Action::WakeAt));
    }
}

/// When the turn itself must look again: a silent effect, a slow append, a history to reopen.
fn alarm(core: &Core) -> Option<u64> {
    let silent = core
        .in_flight
        .values()
        .map(|flight| flight.deadline_ms + GRACE_MS)
        .min();
    let slow = core
        .pending
        .as_ref()
        .map(|pending| pending.since_ms + PATIENCE_MS);
    let slow = slow.filter(|_| core.trouble.is_none());
    let reopen = core.trouble.as_ref().and_then(Trouble::reopen_ms);
    [silent, slow, reopen].into_iter().flatten().min()
}

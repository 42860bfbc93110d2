//! One turn of the engine's loop: an input goes in, actions come out.
//!
//! Synchronous and pure, so that the simulator drives the very loop that runs in production. The
//! order is always: see, fold what became durable, decide, append, and only when that is durable
//! act. While the history cannot be written, only what leads towards the last verified release
//! happens; it is decided on a shadow of the state and recorded after the gap.

#![deny(clippy::disallowed_methods)]

mod answers;
mod aside;
mod trouble;

use crate::engine::{self, Direction};
use crate::model::command::{Answer, Command, Refusal};
use crate::model::effect::EffectKey;
use crate::model::input::{Asked, Denied, Fact, Observation, Settled};
use crate::model::{Action, Actor, Effect, Entry, Event, Input, Outcome, Record, State, World};
use std::collections::{BTreeMap, VecDeque};
use trouble::Trouble;

/// Commands that may wait for the history; more are refused.
const WAITING_MAX: usize = 64;
/// Facts, and records of denied commands, that may wait behind them.
const ASIDE_MAX: usize = 16;
/// After its deadline an effect's outcome may still arrive for this long; then it is given up.
const GRACE_MS: u64 = 2_000;
/// A write that was not applied is not tried again for so long: a peer that refuses is not stormed.
const REST_MS: u64 = 250;
/// An append that takes longer lets an abort act before it is recorded.
const PATIENCE_MS: u64 = 250;

/// Everything the engine holds between two turns.
#[derive(Debug, Clone, Default)]
pub struct Core {
    /// What is durable.
    pub state: State,
    /// What is seen.
    pub world: World,
    /// The running comparisons, which follow what is seen.
    comparisons: engine::Comparisons,
    in_flight: BTreeMap<EffectKey, InFlight>,
    /// Targets whose last write was not applied, and until when they are not written again.
    resting: BTreeMap<EffectKey, u64>,
    tickets: u64,
    pending: Option<Pending>,
    waiting: VecDeque<Waiting>,
    /// Facts to be recorded once nobody's command waits.
    facts: VecDeque<Fact>,
    /// Denied commands, answered already, that may still leave a record.
    denied: VecDeque<Denied>,
    trouble: Option<Trouble>,
    wake_ms: Option<u64>,
}

/// A command that was not decided yet.
#[derive(Debug, Clone)]
struct Waiting {
    asked: Asked,
    since_ms: u64,
}

#[derive(Debug, Clone)]
struct InFlight {
    ticket: u64,
    began_ms: u64,
    deadline_ms: u64,
}

/// Records on their way to the disk.
#[derive(Debug, Clone)]
struct Pending {
    records: Vec<Record>,
    asked: Option<Asked>,
    /// The request behind a fact.
    fact: Option<u64>,
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
    let event = see(core, input);
    follow(core);
    match event {
        Event::Appended { last } => trouble::appended(core, last, &mut out),
        Event::AppendFailed { why } => trouble::append_failed(core, why, &mut out),
        Event::HistoryReopened { last } => trouble::reopened(core, last, &mut out),
        Event::Command(asked) => enqueue(core, asked, &mut out),
        Event::Denied(denied) => aside::deny(core, denied, &mut out),
        Event::Fact(fact) => aside::enqueue(core, fact, &mut out),
        event @ Event::Started(_) => begin(core, event, &mut out),
        Event::Settled(_)
        | Event::Wake
        | Event::Inspected(_)
        | Event::RuntimeInspected(_)
        | Event::RuntimeHinted { .. } => {}
    }
    trouble::lose_patience(core, &mut out);
    advance(core, &mut out);
    act(core, &mut out);
    out
}

/// Observes the input. An outcome with an old ticket is late: it vouches for nothing, but says
/// that the target must be read again. So does one whose reading may be older than the one that
/// is known.
fn see(core: &mut Core, input: Input) -> Event {
    let Input { now_ms, event } = input;
    let event = match event {
        Event::Settled(settled) => {
            see_settled(core, settled, now_ms);
            Event::Wake
        }
        event => {
            let input = Input { now_ms, event };
            engine::observe(&mut core.world, &input);
            input.event
        }
    };
    give_up_the_silent(core);
    event
}

fn follow(core: &mut Core) {
    let shadow = core.trouble.as_ref().map(|trouble| &trouble.shadow);
    let state = shadow.unwrap_or(&core.state);
    engine::follow(&mut core.comparisons, state, &mut core.world);
}

fn see_settled(core: &mut Core, mut settled: Settled, now_ms: u64) {
    let flight = core.in_flight.get(&settled.key);
    let Some(flight) = flight.filter(|flight| flight.ticket == settled.ticket) else {
        core.world.now_ms = core.world.now_ms.max(now_ms);
        return engine::observe::distrust(&mut core.world, &settled.key);
    };
    let unknown = matches!(settled.outcome, Outcome::Unknown { .. });
    // After its deadline an answer is a thing of the past: the engine itself may have stood still.
    let is_old = now_ms > flight.deadline_ms && !unknown;
    if is_old || is_overtaken(&core.world, flight, &settled) {
        settled.seen = None;
    }
    let began_ms = flight.began_ms;
    core.in_flight.remove(&settled.key);
    if settled.id.is_some() && settled.outcome != Outcome::Applied {
        core.resting.insert(settled.key.clone(), now_ms + REST_MS);
    }
    engine::observe::settled(&mut core.world, &settled, began_ms, now_ms);
}

/// Starts and stops of several instances read the same runtime side by side, and their answers
/// may overtake each other: one that began before the known reading came may be the older one.
fn is_overtaken(world: &World, flight: &InFlight, settled: &Settled) -> bool {
    let Some(Observation::Runtime {
        placement, runtime, ..
    }) = &settled.seen
    else {
        return false;
    };
    let place = world.placements.get(placement);
    let view = place.and_then(|place| place.runtimes.get(runtime));
    view.is_some_and(|view| view.read_ms > Some(flight.began_ms))
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

fn begin(core: &mut Core, event: Event, out: &mut Vec<Action>) {
    let now_ms = core.now_ms();
    let input = Input { now_ms, event };
    let entries = engine::decide(&core.state, &core.world, &input).unwrap_or_default();
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
    let since_ms = core.now_ms();
    let waiting = Waiting { asked, since_ms };
    match urgent {
        true => core.waiting.push_front(waiting),
        false => core.waiting.push_back(waiting),
    }
}

/// Decides until something must become durable first, or nothing is due.
fn advance(core: &mut Core, out: &mut Vec<Action>) {
    if core.trouble.is_some() {
        return trouble::advance(core, out);
    }
    while core.pending.is_none() {
        let Some(waiting) = core.waiting.pop_front() else {
            break;
        };
        carry_out(core, waiting.asked, out);
    }
    aside::advance(core, out);
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
            let answer = answers::already(&core.state, &asked.command);
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
    let verb = asked.command.verb();
    let entry = asked.command.placement().and_then(|placement| {
        engine::refusal_entry(&core.state, core.now_ms(), placement, verb, &refusal)
    });
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
        fact: None,
        since_ms: at_ms,
    });
}

/// Starts what is outstanding and not under way. Forward effects wait for everything pending to
/// be durable, for it may be an abort.
fn act(core: &mut Core, out: &mut Vec<Action>) {
    let only_safe = core.pending.is_some() || core.trouble.is_some();
    let now_ms = core.now_ms();
    core.resting.retain(|_, until_ms| *until_ms > now_ms);
    let mut wake_ms = None;
    for (direction, effect) in engine::plan(core.acting_state(), &core.world) {
        if let Effect::WakeAt { at_ms } = effect {
            wake_ms = Some(at_ms);
            continue;
        }
        let held_back = only_safe && direction == Direction::Forward;
        let Some(key) = effect.key().filter(|key| !core.in_flight.contains_key(key)) else {
            continue;
        };
        if held_back || (effect.is_write() && core.resting.contains_key(&key)) {
            continue;
        }
        core.tickets += 1;
        let (ticket, deadline_ms) = (core.tickets, now_ms + effect.deadline_ms());
        let flight = InFlight {
            ticket,
            began_ms: now_ms,
            deadline_ms,
        };
        core.in_flight.insert(key, flight);
        engine::observe::begun(&mut core.world, &effect);
        out.push(Action::Start {
            ticket,
            effect,
            deadline_ms,
        });
    }
    let wake_ms = wake_ms.into_iter().chain(alarm(core)).min();
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
    let reopen = core.trouble.as_ref().and_then(Trouble::alarm_ms);
    let indulged = core.waiting.iter().filter(|_| core.trouble.is_some());
    let indulged = indulged
        .map(|it| it.since_ms + trouble::INDULGENCE_MS)
        .min();
    let rested = core.resting.values().min().copied();
    let alarms = [silent, slow, reopen, rested, indulged];
    alarms.into_iter().flatten().min()
}

#[cfg(test)]
mod tests;

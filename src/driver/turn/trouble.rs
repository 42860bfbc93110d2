//! When the history cannot be written, or not in time: the safe direction only, and the gap told
//! afterwards.

use super::{Core, Pending, append_as};
use crate::engine;
use crate::model::command::{Answer, Command, Refusal};
use crate::model::{Action, Actor, Clean, Entry, Event, Input, Record, Seq, State};

/// Between two attempts to open the history anew.
const REOPEN_EVERY_MS: u64 = 2_000;
/// Safe entries kept to be recorded after the gap; a rollout makes a handful.
const UNRECORDED_MAX: usize = 256;

/// The history is broken, or one append hangs.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) why: Clean,
    pub(super) shadow: State,
    since_ms: u64,
    unrecorded: Vec<(Actor, Entry)>,
    /// When to open the history anew; `None` while an append hangs and may still succeed.
    reopen_ms: Option<u64>,
    /// Records whose append failed: whether they are durable only the file can say.
    doubtful: Vec<Record>,
}

impl Trouble {
    pub(super) fn reopen_ms(&self) -> Option<u64> {
        self.reopen_ms
    }
}

/// Records became durable: fold them, answer who asked.
pub(super) fn appended(core: &mut Core, last: Seq, out: &mut Vec<Action>) {
    let Some(pending) = core.pending.take() else {
        return;
    };
    fold(core, &pending.records, last);
    if let Some(asked) = &pending.asked {
        let answer = accepted(&core.state, &asked.command);
        out.push(Action::Answer {
            request: asked.request,
            answer,
        });
    }
    if let Some(trouble) = core.trouble.take() {
        tell_gap(core, trouble, out);
    }
}

fn fold(core: &mut Core, records: &[Record], last: Seq) {
    for record in records.iter().filter(|record| record.seq <= last) {
        engine::evolve(&mut core.state, record);
    }
}

fn accepted(state: &State, command: &Command) -> Answer {
    let place = state.placements.get(command.placement());
    let open = place.and_then(|place| place.rollout.as_ref());
    let closed = place.and_then(|place| place.last.as_ref());
    let number = open
        .map(|rollout| rollout.number)
        .or(closed.map(|last| last.number));
    Answer::Accepted {
        seq: state.seq,
        number: number.unwrap_or(crate::model::RolloutNumber(0)),
        revision: open.map_or(0, |rollout| rollout.revision),
    }
}

/// An append failed. Whoever asked for something safe is served all the same, and what the engine
/// itself had decided towards stable stays decided.
pub(super) fn append_failed(core: &mut Core, why: Clean, out: &mut Vec<Action>) {
    let now_ms = core.now_ms();
    let pending = core.pending.take();
    let trouble = core.trouble.take();
    let mut trouble = trouble.unwrap_or_else(|| Trouble::begin(&core.state, now_ms));
    if let Some(pending) = pending {
        if let [
            Record {
                entry: Entry::HistoryGap { since_ms, .. },
                ..
            },
            ..,
        ] = &pending.records[..]
        {
            trouble.since_ms = *since_ms;
        }
        let decided = pending.records.iter().filter(|_| pending.asked.is_none());
        for record in decided.filter(|record| record.entry.is_safe_direction()) {
            trouble.fold(record.actor.clone(), vec![record.entry.clone()], now_ms);
        }
        trouble.doubtful = pending.records;
        core.waiting.extend(pending.asked);
    }
    out.push(Action::Say(Clean::new(&format!(
        "the history cannot be written: {why}"
    ))));
    trouble.why = why;
    trouble.reopen_ms = Some(now_ms + REOPEN_EVERY_MS);
    core.trouble = Some(trouble);
}

/// An append that hangs must not keep an abort waiting.
pub(super) fn lose_patience(core: &mut Core) {
    let hangs = core
        .pending
        .as_ref()
        .is_some_and(|pending: &Pending| pending.since_ms + super::PATIENCE_MS <= core.now_ms());
    if hangs && core.trouble.is_none() {
        core.trouble = Some(Trouble::begin(&core.state, core.now_ms()));
    }
}

/// The history was opened anew. It must end where this engine knows it to: at the last record it
/// folded, or at the records whose append failed although they had arrived.
pub(super) fn reopened(core: &mut Core, last: Seq, out: &mut Vec<Action>) {
    let Some(mut trouble) = core.trouble.take() else {
        return;
    };
    let arrived = trouble
        .doubtful
        .last()
        .is_some_and(|record| record.seq == last);
    if arrived {
        let records = std::mem::take(&mut trouble.doubtful);
        fold(core, &records, last);
    }
    if core.state.seq == last {
        return tell_gap(core, trouble, out);
    }
    let why = format!(
        "its last record is {last}, not {}: somebody else wrote it",
        core.state.seq
    );
    trouble.why = Clean::new(&why);
    trouble.reopen_ms = Some(core.now_ms() + REOPEN_EVERY_MS);
    core.trouble = Some(trouble);
}

/// Records the gap and what was done in it, before anything else is decided.
fn tell_gap(core: &mut Core, trouble: Trouble, out: &mut Vec<Action>) {
    let gap = Entry::HistoryGap {
        since_ms: trouble.since_ms,
        why: trouble.why,
    };
    let mut entries = vec![(Actor::Engine, gap)];
    entries.extend(trouble.unrecorded);
    append_as(core, entries, None, out);
}

/// Decides on the shadow, keeping only what leads towards the last verified release.
pub(super) fn advance(core: &mut Core, out: &mut Vec<Action>) {
    let Some(mut trouble) = core.trouble.take() else {
        return;
    };
    let now_ms = core.now_ms();
    if trouble.reopen_ms.is_some_and(|at_ms| at_ms <= now_ms) {
        trouble.reopen_ms = Some(now_ms + REOPEN_EVERY_MS);
        out.push(Action::ReopenHistory);
    }
    while let Some(asked) = core.waiting.pop_front() {
        let request = asked.request;
        let by = asked.by.clone();
        let answer = match &asked.command {
            Command::Abort { .. } | Command::Hold { .. } => {
                let input = Input {
                    now_ms,
                    event: Event::Command(asked),
                };
                match engine::decide(&trouble.shadow, &core.world, &input) {
                    Ok(entries) => {
                        trouble.fold(by, entries, now_ms);
                        Answer::Unrecorded {
                            why: trouble.why.clone(),
                        }
                    }
                    Err(refusal) => Answer::Refused(refusal),
                }
            }
            _ => Answer::Refused(Refusal::HistoryBroken {
                why: trouble.why.clone(),
            }),
        };
        out.push(Action::Answer { request, answer });
    }
    let wake = Input {
        now_ms,
        event: Event::Wake,
    };
    while trouble.unrecorded.len() < UNRECORDED_MAX {
        let entries = engine::decide(&trouble.shadow, &core.world, &wake).unwrap_or_default();
        if entries.is_empty() || !entries.iter().all(Entry::is_safe_direction) {
            break;
        }
        trouble.fold(Actor::Engine, entries, now_ms);
    }
    core.trouble = Some(trouble);
}

impl Trouble {
    fn begin(state: &State, now_ms: u64) -> Self {
        Self {
            why: "a write to the history has not returned yet".into(),
            shadow: state.clone(),
            since_ms: now_ms,
            unrecorded: Vec::new(),
            reopen_ms: None,
            doubtful: Vec::new(),
        }
    }

    fn fold(&mut self, actor: Actor, entries: Vec<Entry>, at_ms: u64) {
        for entry in entries {
            let seq = self.shadow.seq + 1;
            let record = Record {
                seq,
                at_ms,
                actor: actor.clone(),
                entry,
            };
            engine::evolve(&mut self.shadow, &record);
            self.unrecorded.push((record.actor, record.entry));
        }
    }
}

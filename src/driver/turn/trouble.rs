//! When the history cannot be written, or not in time: the safe direction only, and the gap told
//! afterwards.

use super::{Core, Pending, append_as};
use crate::engine;
use crate::model::command::{Answer, Command, PipelineCommand, Refusal};
use crate::model::input::Asked;
use crate::model::{Action, Actor, Clean, Entry, Event, Input, Record, RunNumber, Seq, State};
use std::collections::{BTreeMap, VecDeque};

/// Between two attempts to open the history anew.
const REOPEN_EVERY_MS: u64 = 2_000;
/// Safe entries kept to be recorded after the gap; a rollout makes a handful.
const UNRECORDED_MAX: usize = 256;
/// While an append is only slow, whoever wants to go forward waits so long before being refused:
/// most disks that stall come back.
pub(super) const INDULGENCE_MS: u64 = 2_000;
/// Whoever asked for something whose append failed is told after this long that nobody knows.
const DOUBT_MAX_MS: u64 = 5_000;

/// The history is broken, or one append hangs.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) why: Clean,
    pub(super) shadow: State,
    since_ms: u64,
    unrecorded: Vec<Unrecorded>,
    /// When to open the history anew; `None` while an append hangs and may still succeed.
    reopen_ms: Option<u64>,
    /// Records whose append failed: whether they are durable only the file can say.
    doubtful: Vec<Record>,
    /// Who asked for them, and when that began to be in doubt.
    asked: Option<(Asked, u64)>,
}

/// What was decided without being recorded.
#[derive(Debug, Clone)]
struct Unrecorded {
    actor: Actor,
    entry: Entry,
    /// Its place in the shadow.
    shadow_seq: Seq,
    /// Its place in the append that hangs or failed, if it is part of that.
    pending_seq: Option<Seq>,
}

impl Trouble {
    /// Whether an append has not returned yet, and may still succeed.
    fn is_only_slow(&self) -> bool {
        self.reopen_ms.is_none()
    }

    /// When the turn must look again.
    pub(super) fn alarm_ms(&self) -> Option<u64> {
        let doubt_ms = self
            .asked
            .as_ref()
            .map(|(_, since_ms)| since_ms + DOUBT_MAX_MS);
        self.reopen_ms.into_iter().chain(doubt_ms).min()
    }
}

/// Records became durable: fold them, answer who asked.
pub(super) fn appended(core: &mut Core, last: Seq, out: &mut Vec<Action>) {
    let Some(pending) = core.pending.take() else {
        return;
    };
    fold(core, &pending.records, last);
    if let Some(asked) = &pending.asked {
        accept(core, asked, out);
    }
    super::aside::recorded(core, pending.fact, out);
    if let Some(mut trouble) = core.trouble.take() {
        let places = trouble.forget_recorded();
        tell_gap(core, trouble, places, out);
    }
}

fn accept(core: &Core, asked: &Asked, out: &mut Vec<Action>) {
    let answer = accepted(&core.state, &asked.command);
    let request = asked.request;
    out.push(Action::Answer { request, answer });
}

fn fold(core: &mut Core, records: &[Record], last: Seq) {
    for record in records.iter().filter(|record| record.seq <= last) {
        engine::evolve(&mut core.state, record);
    }
}

fn run_of(state: &State, command: &PipelineCommand) -> RunNumber {
    match command {
        PipelineCommand::Run { .. } => RunNumber(state.pipelines.begun),
        PipelineCommand::Cancel { run, .. } | PipelineCommand::Confirm { run, .. } => *run,
    }
}

fn accepted(state: &State, command: &Command) -> Answer {
    if let Command::Pipeline(command) = command {
        return Answer::Run {
            seq: state.seq,
            run: run_of(state, command),
        };
    }
    let place = command.placement().and_then(|at| state.placements.get(at));
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

/// An append failed. What is safe of it is done all the same; whoever asked for something else is
/// answered once it is known whether it arrived.
pub(super) fn append_failed(core: &mut Core, why: Clean, out: &mut Vec<Action>) {
    let now_ms = core.now_ms();
    let begun = core.trouble.take();
    let mut trouble = begun.unwrap_or_else(|| Trouble::begin(core));
    if let Some(pending) = core.pending.take() {
        if let Some(Entry::HistoryGap { since_ms, .. }) =
            pending.records.first().map(|record| &record.entry)
        {
            trouble.since_ms = *since_ms;
        }
        if let Some(asked) = pending.asked {
            match is_safe(entries_of(&pending.records)) {
                true => trouble.tell_unrecorded(asked.request, out),
                false => trouble.asked = Some((asked, now_ms)),
            }
        }
        trouble.doubtful = pending.records;
        super::aside::lost(pending.fact, out);
    }
    out.push(Action::Say(Clean::new(&format!(
        "the history cannot be written: {why}"
    ))));
    trouble.why = why;
    trouble.reopen_ms = Some(now_ms + REOPEN_EVERY_MS);
    core.trouble = Some(trouble);
}

fn is_safe<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> bool {
    entries.into_iter().all(Entry::is_safe_direction)
}

fn entries_of(records: &[Record]) -> impl Iterator<Item = &Entry> {
    records.iter().map(|record| &record.entry)
}

/// An append that hangs must not keep an abort waiting, be it part of that append.
pub(super) fn lose_patience(core: &mut Core, out: &mut Vec<Action>) {
    let now_ms = core.now_ms();
    let hangs = |pending: &Pending| pending.since_ms + super::PATIENCE_MS <= now_ms;
    if core.trouble.is_some() || !core.pending.as_ref().is_some_and(hangs) {
        return;
    }
    let trouble = Trouble::begin(core);
    if let Some(pending) = core.pending.as_mut()
        && is_safe(entries_of(&pending.records))
        && let Some(asked) = pending.asked.take()
    {
        trouble.tell_unrecorded(asked.request, out);
    }
    core.trouble = Some(trouble);
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
    let mut places = BTreeMap::new();
    if arrived {
        let records = std::mem::take(&mut trouble.doubtful);
        fold(core, &records, last);
        places = trouble.forget_recorded();
    }
    if core.state.seq == last {
        match trouble.asked.take() {
            Some((asked, _)) if arrived => accept(core, &asked, out),
            Some((asked, _)) => trouble.refuse(asked.request, out),
            None => {}
        }
        return tell_gap(core, trouble, places, out);
    }
    let why = format!(
        "its last record is {last}, not {}: somebody else wrote it",
        core.state.seq
    );
    trouble.why = Clean::new(&why);
    trouble.reopen_ms = Some(core.now_ms() + REOPEN_EVERY_MS);
    core.trouble = Some(trouble);
}

/// Records the gap and what was done in it, before anything else is decided. Entries that name
/// another record by its place in the shadow name its place in the history from now on; `places`
/// holds those that are there already.
fn tell_gap(
    core: &mut Core,
    trouble: Trouble,
    mut places: BTreeMap<Seq, Seq>,
    out: &mut Vec<Action>,
) {
    let gap = Entry::HistoryGap {
        since_ms: trouble.since_ms,
        why: trouble.why,
    };
    let mut entries = vec![(Actor::Engine, gap)];
    for (mut told, seq) in trouble.unrecorded.into_iter().zip(core.state.seq + 2..) {
        places.insert(told.shadow_seq, seq);
        if let Entry::WeightSettled { id, .. } | Entry::WeightAbandoned { id, .. } = &mut told.entry
        {
            *id = places.get(id).copied().unwrap_or(*id);
        }
        entries.push((told.actor, told.entry));
    }
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
    if trouble
        .asked
        .as_ref()
        .is_some_and(|(_, since_ms)| since_ms + DOUBT_MAX_MS <= now_ms)
        && let Some((asked, _)) = trouble.asked.take()
    {
        let why = "the history failed while this was written; whether it was recorded shows once \
                   the history can be read again";
        let answer = Answer::Refused(Refusal::NotNow { why: why.into() });
        let request = asked.request;
        out.push(Action::Answer { request, answer });
    }
    core.denied.clear();
    for fact in core.facts.drain(..) {
        trouble.refuse(fact.request, out);
    }
    let mut indulged = VecDeque::new();
    while let Some(waiting) = core.waiting.pop_front() {
        let is_early = now_ms < waiting.since_ms + INDULGENCE_MS;
        let kept = (is_early && trouble.is_only_slow()).then(|| waiting.clone());
        let asked = waiting.asked;
        let (request, by) = (asked.request, asked.by.clone());
        let repeated = super::answers::already_begun(&trouble.shadow, &asked.command);
        let event = Event::Command(asked);
        let decided = engine::decide(&trouble.shadow, &core.world, &Input { now_ms, event });
        match (decided, repeated) {
            (Ok(_), Some(answer)) => out.push(Action::Answer { request, answer }),
            (Ok(entries), None) if is_safe(&entries) => {
                trouble.fold(by, entries, now_ms);
                trouble.tell_unrecorded(request, out);
            }
            (Ok(_), None) => match kept {
                Some(waiting) => indulged.push_back(waiting),
                None => trouble.refuse(request, out),
            },
            (Err(refusal), _) => out.push(Action::Answer {
                request,
                answer: Answer::Refused(refusal),
            }),
        }
    }
    core.waiting = indulged;
    let wake = Input {
        now_ms,
        event: Event::Wake,
    };
    while trouble.unrecorded.len() < UNRECORDED_MAX {
        let mut entries = engine::decide(&trouble.shadow, &core.world, &wake).unwrap_or_default();
        entries.retain(Entry::is_safe_direction);
        if entries.is_empty() {
            break;
        }
        trouble.fold(Actor::Engine, entries, now_ms);
    }
    core.trouble = Some(trouble);
}

impl Trouble {
    /// Begins with what is durable and what is safe of the append under way.
    fn begin(core: &Core) -> Self {
        let mut trouble = Self {
            why: "a write to the history has not returned yet".into(),
            shadow: core.state.clone(),
            since_ms: core.now_ms(),
            unrecorded: Vec::new(),
            reopen_ms: None,
            doubtful: Vec::new(),
            asked: None,
        };
        let pending = core.pending.iter().flat_map(|pending| &pending.records);
        for record in pending {
            let (actor, entry) = (record.actor.clone(), record.entry.clone());
            if entry.is_safe_direction() {
                trouble.fold_one(actor, entry, record.at_ms, Some(record.seq));
            } else if let Entry::RolloutFinished { placement, .. } = &entry
                && let Some(place) = trouble.shadow.placements.get_mut(placement)
            {
                // It may be closed: whatever is decided for it now might fit nothing later.
                place.rollout = None;
            }
        }
        trouble
    }

    fn fold(&mut self, actor: Actor, entries: Vec<Entry>, at_ms: u64) {
        for entry in entries {
            self.fold_one(actor.clone(), entry, at_ms, None);
        }
    }

    fn fold_one(&mut self, actor: Actor, entry: Entry, at_ms: u64, pending_seq: Option<Seq>) {
        let record = Record {
            seq: self.shadow.seq + 1,
            at_ms,
            actor,
            entry,
        };
        engine::evolve(&mut self.shadow, &record);
        self.unrecorded.push(Unrecorded {
            actor: record.actor,
            entry: record.entry,
            shadow_seq: record.seq,
            pending_seq,
        });
    }

    /// The append under way is durable after all: what came from it needs no second record.
    /// Returns where in the history that is which the shadow knows by another place.
    fn forget_recorded(&mut self) -> BTreeMap<Seq, Seq> {
        let recorded = self
            .unrecorded
            .extract_if(.., |told| told.pending_seq.is_some());
        recorded
            .filter_map(|told| Some((told.shadow_seq, told.pending_seq?)))
            .collect()
    }

    fn tell_unrecorded(&self, request: u64, out: &mut Vec<Action>) {
        let why = self.why.clone();
        let answer = Answer::Unrecorded { why };
        out.push(Action::Answer { request, answer });
    }

    fn refuse(&self, request: u64, out: &mut Vec<Action>) {
        let why = self.why.clone();
        let answer = Answer::Refused(Refusal::HistoryBroken { why });
        out.push(Action::Answer { request, answer });
    }
}

//! What is recorded beside people's commands: that a command was denied, and facts about the
//! engine itself. Neither ever goes before a command.

use super::{ASIDE_MAX, Core, append};
use crate::engine;
use crate::model::command::{Answer, Refusal};
use crate::model::input::{Denied, Fact};
use crate::model::{Action, RolloutNumber};

/// Answers at once: nothing hangs on the record. A storm of denials leaves one now and then.
pub(super) fn deny(core: &mut Core, denied: Denied, out: &mut Vec<Action>) {
    out.push(Action::Answer {
        request: denied.request,
        answer: Answer::Refused(denied.refusal.clone()),
    });
    if core.denied.len() < ASIDE_MAX {
        core.denied.push_back(denied);
    }
}

/// Takes a fact in; it is answered once it is durable.
pub(super) fn enqueue(core: &mut Core, fact: Fact, out: &mut Vec<Action>) {
    let why = if core.state.newer {
        "a newer Wheelhouse wrote this history; use that version to act"
    } else if core.facts.len() >= ASIDE_MAX {
        "too much waits to be recorded; try again in a moment"
    } else {
        core.facts.push_back(fact);
        return;
    };
    refuse(fact.request, why, out);
}

fn refuse(request: u64, why: &str, out: &mut Vec<Action>) {
    let answer = Answer::Refused(Refusal::NotNow { why: why.into() });
    out.push(Action::Answer { request, answer });
}

/// Records what waits, one at a time.
pub(super) fn advance(core: &mut Core, out: &mut Vec<Action>) {
    while core.pending.is_none() {
        let Some(denied) = core.denied.pop_front() else {
            break;
        };
        let Denied {
            placement,
            verb,
            refusal,
            ..
        } = &denied;
        let entry = engine::refusal_entry(&core.state, core.now_ms(), placement, verb, refusal);
        append(core, denied.by, entry.into_iter().collect(), None, out);
    }
    if core.pending.is_some() {
        return;
    }
    if let Some(fact) = core.facts.pop_front() {
        append(core, fact.by, vec![*fact.entry], None, out);
        if let Some(pending) = core.pending.as_mut() {
            pending.fact = Some(fact.request);
        }
    }
}

/// A fact is durable.
pub(super) fn recorded(core: &Core, fact: Option<u64>, out: &mut Vec<Action>) {
    let answer = Answer::Accepted {
        seq: core.state.seq,
        number: RolloutNumber(0),
        revision: 0,
    };
    out.extend(fact.map(|request| Action::Answer { request, answer }));
}

/// Its append failed: nobody may act on it.
pub(super) fn lost(fact: Option<u64>, out: &mut Vec<Action>) {
    let why = "the history failed while this was written, so nothing was done; whether it was \
               recorded shows once the history can be read again";
    if let Some(request) = fact {
        refuse(request, why, out);
    }
}

#[cfg(test)]
mod tests;

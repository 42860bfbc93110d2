//! Records → [`State`]. Total: every record of every version folds, and nothing is judged here.

mod pipeline;

use crate::model::entry::WeightReason;
use crate::model::service::{Release, ServiceSpec};
use crate::model::state::{
    Closed, DriftTold, EvidenceStatus, Hold, HoldReason, Instance, InstanceStatus, Outage,
    RefusalTold, Requested, WeightIntent,
};
use crate::model::{
    Actor, Clean, Entry, Phase, PlacementState, Record, ReleaseId, Rollout, RolloutId, RolloutKind,
    RolloutNumber, ServerName, State, Status, Strategy, Urgency,
};
use std::collections::{BTreeMap, BTreeSet};

/// Verified releases remembered per placement, for rollbacks.
const VERIFIED_MAX: usize = 10;
/// Requests remembered by their id; older ones are looked up in the history.
const REQUESTS_MAX: usize = 256;

/// Folds one record.
pub fn evolve(state: &mut State, record: &Record) {
    state.seq = record.seq;
    state.at_ms = state.at_ms.max(record.at_ms);
    match &record.entry {
        Entry::EngineStarted { .. } => begin_anew(state, record),
        Entry::RolloutStarted {
            id,
            number,
            rollout,
            release,
            from,
            spec,
            reason: _,
            request_id,
            led_by,
            urgency,
        } => {
            state.rollouts = state.rollouts.max(number.0);
            if let Some(id) = request_id {
                state.requests.push_back(Requested {
                    id: id.clone(),
                    number: *number,
                    placement: spec.placement.clone(),
                    version: release.version.clone(),
                });
                let over = state.requests.len().saturating_sub(REQUESTS_MAX);
                state.requests.drain(..over);
            }
            let begun = Begun {
                id: *id,
                number: *number,
                kind: *rollout,
                from: *from,
                led_by: *led_by,
                urgency: *urgency,
            };
            start(state, record, begun, release, spec);
        }
        Entry::Unknown => state.newer = true,
        Entry::HistoryGap { .. } => {}
        entry if entry.run().is_some() => pipeline::fold(&mut state.pipelines, record),
        entry => {
            let place = entry
                .placement()
                .and_then(|at| state.placements.get_mut(at));
            if let Some(place) = place {
                fold(place, record);
            }
        }
    }
}

/// A restarted engine knows nothing of the time it missed: every soak and deadline begins anew.
fn begin_anew(state: &mut State, record: &Record) {
    state.engine_seq = record.seq;
    for rollout in state
        .placements
        .values_mut()
        .filter_map(|place| place.rollout.as_mut())
    {
        match &mut rollout.phase {
            Phase::Starting { since_ms }
            | Phase::Shifting { since_ms }
            | Phase::Soaking { since_ms }
            | Phase::Reverting { since_ms, .. } => *since_ms = record.at_ms,
        }
    }
}

struct Begun {
    id: RolloutId,
    number: RolloutNumber,
    kind: RolloutKind,
    from: Option<ReleaseId>,
    led_by: Option<RolloutId>,
    urgency: Urgency,
}

fn start(state: &mut State, record: &Record, begun: Begun, release: &Release, spec: &ServiceSpec) {
    let place = state
        .placements
        .entry(spec.placement.clone())
        .or_insert_with(|| empty(spec));
    place.spec = spec.clone();
    place.releases.insert(release.id, release.clone());
    place.warm.remove(&release.id);
    place.rollout = Some(Rollout {
        id: begun.id,
        number: begun.number,
        kind: begun.kind,
        release: release.id,
        from: begun.from,
        by: record.actor.clone(),
        started_ms: record.at_ms,
        revision: 1,
        phase: Phase::Starting {
            since_ms: record.at_ms,
        },
        step: 0,
        passed: Vec::new(),
        hold: None,
        verdict: None,
        smoke: None,
        had_traffic: false,
        urgency: begun.urgency,
        outage: None,
        led_by: begun.led_by,
    });
}

fn empty(spec: &ServiceSpec) -> PlacementState {
    PlacementState {
        spec: spec.clone(),
        releases: BTreeMap::new(),
        verified: Vec::new(),
        withdrawn: BTreeSet::new(),
        instances: BTreeMap::new(),
        weight: None,
        rollout: None,
        last: None,
        warm: BTreeMap::new(),
        drift: None,
        refused: None,
        out: BTreeSet::new(),
    }
}

fn fold(place: &mut PlacementState, record: &Record) {
    match &record.entry {
        Entry::InstanceIntended { .. }
        | Entry::InstanceFound { .. }
        | Entry::InstanceUp { .. }
        | Entry::InstanceFailed { .. }
        | Entry::EvidenceKept { .. }
        | Entry::DrainBegun { .. }
        | Entry::InstanceQuieted { .. }
        | Entry::StopIntended { .. }
        | Entry::InstanceStopped { .. } => fold_instance(place, record),
        Entry::WeightIntended { .. }
        | Entry::WeightSettled { .. }
        | Entry::WeightAbandoned { .. } => fold_weight(place, record),
        Entry::RolloutFinished {
            status, because, ..
        } => finish(place, record, *status, because),
        Entry::RetireIntended { release, .. } => {
            place.warm.insert(*release, record.at_ms);
        }
        Entry::DriftFound { .. } => {
            let intent = place.weight.as_ref().map_or(0, |weight| weight.id);
            place.drift = Some(DriftTold {
                intent,
                at_ms: record.at_ms,
            });
        }
        Entry::Refused { .. } => {
            place.refused = Some(RefusalTold {
                at_ms: record.at_ms,
            })
        }
        Entry::Scaled { instances, .. } => place.spec.instances = *instances,
        Entry::ServerDrained { server, .. } => {
            place.out.insert(server.clone());
        }
        Entry::ServerUndrained { server, .. } => {
            place.out.remove(server);
        }
        _ => {
            if let Some(rollout) = place.rollout.as_mut() {
                fold_rollout(rollout, record);
            }
        }
    }
}

fn fold_rollout(rollout: &mut Rollout, record: &Record) {
    match &record.entry {
        Entry::SmokeFinished { report, .. } => rollout.smoke = Some(report.clone()),
        Entry::StepPassed { step, verdict, .. } => {
            rollout.passed.push((*step, record.at_ms));
            let same = rollout.verdict_class() == verdict.class;
            rollout.verdict = Some(verdict.clone());
            if same {
                return;
            }
        }
        Entry::BatchBegun { step, .. } => {
            rollout.step = *step;
            rollout.phase = Phase::Starting {
                since_ms: record.at_ms,
            };
        }
        Entry::VerdictChanged { verdict, .. } => rollout.verdict = Some(verdict.clone()),
        Entry::Held { why, .. } => hold(rollout, record, why),
        Entry::Resumed { .. } => resume(rollout, record),
        Entry::Promoted { .. } => {
            let by_person = |hold: &Hold| matches!(hold.why, HoldReason::Person { .. });
            rollout.hold = rollout.hold.take().filter(by_person);
        }
        Entry::AbortRequested { reason, .. } => {
            let cause = match (&record.actor, reason) {
                (actor, Some(reason)) => format!("aborted by {actor}: {reason}"),
                (actor, None) => format!("aborted by {actor}"),
            };
            revert(rollout, record, Clean::new(&cause));
        }
        Entry::RevertDecided { cause, verdict, .. } => {
            if verdict.is_some() {
                rollout.verdict.clone_from(verdict);
            }
            revert(rollout, record, cause.clone());
        }
        _ => return,
    }
    rollout.revision += 1;
}

/// A person's hold outranks the engine's: only a person ends it.
fn hold(rollout: &mut Rollout, record: &Record, why: &HoldReason) {
    let by_person = rollout
        .hold
        .as_ref()
        .is_some_and(|hold| matches!(hold.why, HoldReason::Person { .. }));
    if !by_person {
        rollout.hold = Some(Hold {
            since_ms: record.at_ms,
            why: why.clone(),
        });
    }
}

/// After a hold that the engine made for want of evidence, the wait begins anew: what was seen
/// before it ended in the hold.
fn resume(rollout: &mut Rollout, record: &Record) {
    let Some(hold) = rollout.hold.take() else {
        return;
    };
    let anew = match hold.why {
        HoldReason::NoData
        | HoldReason::TooFewRequests
        | HoldReason::Inconclusive
        | HoldReason::Shift { .. } => true,
        HoldReason::Person { .. }
        | HoldReason::Drift { .. }
        | HoldReason::Capacity { .. }
        | HoldReason::OutOfSight { .. }
        | HoldReason::Switch
        | HoldReason::PauseStep => false,
    };
    if let (true, Phase::Soaking { since_ms } | Phase::Shifting { since_ms }) =
        (anew, &mut rollout.phase)
    {
        *since_ms = record.at_ms;
    }
}

fn revert(rollout: &mut Rollout, record: &Record, cause: Clean) {
    if !rollout.is_reverting() {
        rollout.phase = Phase::Reverting {
            since_ms: record.at_ms,
            cause,
        };
        rollout.hold = None;
    }
}

fn fold_instance(place: &mut PlacementState, record: &Record) {
    match &record.entry {
        Entry::InstanceIntended {
            server, release, ..
        } => {
            stand(place, record, server, *release, InstanceStatus::Starting);
        }
        Entry::InstanceFound {
            server,
            release,
            epochs,
            ..
        } => {
            let epochs = epochs.clone();
            stand(
                place,
                record,
                server,
                *release,
                InstanceStatus::Draining {
                    epochs,
                    quiet_ms: None,
                },
            );
        }
        // What was decided during a gap may meet an instance that is on its way out since.
        Entry::InstanceUp { server, .. } if is_meant_to_run(place, server) => {
            set(place, server, record, InstanceStatus::Up);
            end_outage(place, record, server);
        }
        Entry::InstanceFailed { server, why, .. } if is_meant_to_run(place, server) => {
            set(
                place,
                server,
                record,
                InstanceStatus::Failed { why: why.clone() },
            );
            set_evidence(place, server, EvidenceStatus::Wanted);
            bump(place);
        }
        Entry::EvidenceKept {
            server, release, ..
        } => {
            let there = place.instances.get(server);
            if there.is_some_and(|there| there.release == *release) {
                set_evidence(place, server, EvidenceStatus::Kept);
            }
        }
        Entry::DrainBegun { server, epochs, .. } => {
            set(
                place,
                server,
                record,
                InstanceStatus::Draining {
                    epochs: epochs.clone(),
                    quiet_ms: None,
                },
            );
            intend(place, server, record);
            begin_outage(place, record, server);
        }
        Entry::InstanceQuieted { server, .. } => {
            if let Some(there) = place.instances.get_mut(server)
                && let InstanceStatus::Draining { quiet_ms, .. } = &mut there.status
            {
                quiet_ms.get_or_insert(record.at_ms);
            }
        }
        Entry::StopIntended { server, .. } => {
            set(place, server, record, InstanceStatus::Stopping);
            intend(place, server, record);
        }
        Entry::InstanceStopped { server, .. } => {
            let gone = place
                .instances
                .remove(server)
                .map(|instance| instance.release);
            place.out.remove(server);
            if let Some(release) = gone
                && place.servers_of(release).next().is_none()
            {
                place.warm.remove(&release);
                forget_releases(place);
            }
        }
        _ => {}
    }
}

fn set(place: &mut PlacementState, server: &ServerName, record: &Record, status: InstanceStatus) {
    if let Some(instance) = place.instances.get_mut(server) {
        instance.status = status;
        instance.since_ms = record.at_ms;
    }
}

fn set_evidence(place: &mut PlacementState, server: &ServerName, evidence: EvidenceStatus) {
    if let Some(instance) = place.instances.get_mut(server) {
        instance.evidence = evidence;
    }
}

/// Where nothing runs beside the old instances, taking the first of them out ends the service.
fn begin_outage(place: &mut PlacementState, record: &Record, server: &ServerName) {
    let recreates = matches!(place.spec.strategy, Strategy::Recreate(_));
    let release = place.instances.get(server).map(|there| there.release);
    if let Some(rollout) = place.rollout.as_mut()
        && recreates
        && !rollout.is_reverting()
        && rollout.from == release
    {
        rollout.outage.get_or_insert(Outage {
            since_ms: record.at_ms,
            until_ms: None,
        });
    }
}

/// On the way back the service is there again once an old instance is.
fn end_outage(place: &mut PlacementState, record: &Record, server: &ServerName) {
    let release = place.instances.get(server).map(|there| there.release);
    if let Some(rollout) = place.rollout.as_mut()
        && rollout.is_reverting()
        && rollout.from == release
        && let Some(outage) = rollout.outage.as_mut()
    {
        outage.until_ms.get_or_insert(record.at_ms);
    }
}

fn is_meant_to_run(place: &PlacementState, server: &ServerName) -> bool {
    let there = place.instances.get(server);
    there.is_some_and(Instance::is_standing)
}

fn stand(
    place: &mut PlacementState,
    record: &Record,
    server: &ServerName,
    release: ReleaseId,
    status: InstanceStatus,
) {
    let instance = Instance {
        release,
        intent: record.seq,
        rollout: place.rollout.as_ref().map(|rollout| rollout.number),
        since_ms: record.at_ms,
        status,
        evidence: EvidenceStatus::None,
    };
    place.instances.insert(server.clone(), instance);
}

fn intend(place: &mut PlacementState, server: &ServerName, record: &Record) {
    if let Some(instance) = place.instances.get_mut(server) {
        instance.intent = record.seq;
    }
}

fn bump(place: &mut PlacementState) {
    if let Some(rollout) = place.rollout.as_mut() {
        rollout.revision += 1;
    }
}

fn fold_weight(place: &mut PlacementState, record: &Record) {
    match &record.entry {
        Entry::WeightIntended { shares, reason, .. } => {
            let before = place
                .weight
                .take()
                .map(|old| old.shares)
                .unwrap_or_default();
            place.weight = Some(WeightIntent {
                id: record.seq,
                at_ms: record.at_ms,
                shares: shares.clone(),
                before,
                reason: reason.clone(),
                settled: None,
            });
            if let Some(rollout) = place.rollout.as_mut() {
                shift(
                    rollout,
                    record,
                    reason,
                    shares.get(&rollout.release).copied(),
                );
            }
            bump(place);
        }
        Entry::WeightSettled { id, epochs, .. } => settle(place, record, *id, epochs),
        Entry::WeightAbandoned { id, shares, .. } => {
            if let Some(intent) = place.weight.as_mut().filter(|intent| intent.id == *id) {
                intent.shares = shares.clone();
                intent.settled = Some(BTreeMap::new());
                step_back(place, record);
                bump(place);
            }
        }
        _ => {}
    }
}

fn shift(rollout: &mut Rollout, record: &Record, reason: &WeightReason, share: Option<u8>) {
    match reason {
        WeightReason::Step { step } | WeightReason::Promotion { step } => rollout.step = *step,
        WeightReason::Rollback => rollout.step = 1,
        WeightReason::Revert => return,
    }
    rollout.phase = Phase::Shifting {
        since_ms: record.at_ms,
    };
    rollout.verdict = None;
    rollout.had_traffic |= share.unwrap_or(0) > 0;
}

fn settle(
    place: &mut PlacementState,
    record: &Record,
    id: u64,
    epochs: &BTreeMap<crate::model::BalancerName, String>,
) {
    let Some(intent) = place.weight.as_mut().filter(|intent| intent.id == id) else {
        return;
    };
    let first = intent.settled.replace(epochs.clone()).is_none();
    let Some(rollout) = place.rollout.as_mut().filter(|_| first) else {
        return;
    };
    if let Phase::Shifting { .. } = rollout.phase {
        if let Some(outage) = rollout.outage.as_mut() {
            outage.until_ms.get_or_insert(record.at_ms);
        }
        rollout.phase = Phase::Soaking {
            since_ms: record.at_ms,
        };
        rollout.hold = rollout
            .hold
            .take()
            .filter(|hold| !matches!(hold.why, HoldReason::Shift { .. }));
    }
    rollout.revision += 1;
}

/// The share that was found is where the step begins anew; at 0 % the first step is still ahead.
fn step_back(place: &mut PlacementState, record: &Record) {
    let share = place.canary().map_or(0, |canary| place.share(canary));
    let Some(rollout) = place
        .rollout
        .as_mut()
        .filter(|rollout| !rollout.is_reverting())
    else {
        return;
    };
    let steps = rollout.steps(&place.spec);
    rollout.step = steps
        .iter()
        .filter(|step| step.weight_percent <= share)
        .count();
    rollout.phase = match share {
        0 => Phase::Starting {
            since_ms: record.at_ms,
        },
        _ => Phase::Soaking {
            since_ms: record.at_ms,
        },
    };
}

fn finish(place: &mut PlacementState, record: &Record, status: Status, because: &Clean) {
    let Some(rollout) = place.rollout.take() else {
        return;
    };
    let loser = match status {
        Status::Succeeded => {
            verify(place, &rollout);
            rollout.from
        }
        _ => Some(rollout.release),
    };
    let verified = loser.is_some_and(|loser| place.verified.contains(&loser));
    let keep_ms = match verified && place.spec.strategy.stands_beside() {
        true => place.spec.canary.keep_warm_ms,
        false => 0,
    };
    let stands = |loser: &ReleaseId| {
        Some(*loser) != place.stable() && place.servers_of(*loser).next().is_some()
    };
    if let Some(loser) = loser.filter(stands) {
        place.warm.insert(loser, record.at_ms + keep_ms);
    }
    place.last = Some(Closed {
        id: rollout.id,
        number: rollout.number,
        kind: rollout.kind,
        release: rollout.release,
        from: rollout.from,
        status,
        at_ms: record.at_ms,
        because: because.clone(),
        verdict: rollout.verdict,
        led_by: rollout.led_by,
    });
    retire_the_rest(place, record.at_ms);
    forget_releases(place);
}

fn verify(place: &mut PlacementState, rollout: &Rollout) {
    place.verified.retain(|id| *id != rollout.release);
    place.verified.push(rollout.release);
    if place.verified.len() > VERIFIED_MAX {
        let old = place.verified.remove(0);
        place.withdrawn.remove(&old);
    }
    place.withdrawn.remove(&rollout.release);
    if rollout.kind == RolloutKind::Rollback {
        place.withdrawn.extend(rollout.from);
    }
}

/// Only one old release stays warm; those before it go now.
fn retire_the_rest(place: &mut PlacementState, now_ms: u64) {
    let keep: BTreeSet<_> = place
        .stable()
        .into_iter()
        .chain(place.warm.keys().copied())
        .collect();
    let rest: Vec<_> = place
        .instances
        .values()
        .map(|instance| instance.release)
        .filter(|release| !keep.contains(release))
        .collect();
    place
        .warm
        .extend(rest.into_iter().map(|release| (release, now_ms)));
}

fn forget_releases(place: &mut PlacementState) {
    let (verified, warm) = (&place.verified, &place.warm);
    let canary = place.rollout.as_ref().map(|rollout| rollout.release);
    let last = place.last.as_ref().map(|last| last.release);
    place.releases.retain(|id, _| {
        verified.contains(id) || warm.contains_key(id) || canary == Some(*id) || last == Some(*id)
    });
}

/// Who a person's hold is by, for texts.
pub fn held_by(why: &HoldReason) -> Option<&Actor> {
    match why {
        HoldReason::Person { by, .. } => Some(by),
        _ => None,
    }
}

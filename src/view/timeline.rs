//! Records as lines for people.

use super::snapshot::TimelineRow;
use super::{pipeline, smoke, words};
use crate::model::command::PromoteTo;
use crate::model::entry::{Drift, Entry, IdleProof, Record, WeightReason};
use crate::model::state::{HoldReason, Status};
use crate::model::{Clean, State, Urgency};

/// One record as a line, with the state it led to for names; `None` for those that only matter to
/// machines.
pub fn timeline_row(state: &State, record: &Record) -> Option<TimelineRow> {
    Some(TimelineRow {
        seq: record.seq,
        at_ms: record.at_ms,
        actor: Clean::new(&record.actor.to_string()),
        placement: record.entry.placement().cloned(),
        text: Clean::new(&text(state, &record.entry)?),
    })
}

/// What a record holds beyond its line, each on a line of its own: the smoke tests' results.
pub fn details(record: &Record) -> Vec<Clean> {
    match &record.entry {
        Entry::SmokeFinished { report, .. } => report.results.iter().map(smoke::line).collect(),
        _ => Vec::new(),
    }
}

fn text(state: &State, entry: &Entry) -> Option<String> {
    Some(match entry {
        Entry::EngineStarted { engine } => {
            format!("engine {} started (pid {})", engine.version, engine.pid)
        }
        Entry::RolloutStarted {
            number,
            rollout,
            release,
            urgency,
            reason,
            ..
        } => {
            let began = format!("{} {} began", rollout.phrase(), release.version);
            match (urgency, reason) {
                (Urgency::Ordinary, _) => format!("{number} {began}"),
                (Urgency::Emergency, None) => format!("{number} emergency {began}"),
                (Urgency::Emergency, Some(why)) => format!("{number} emergency {began}: {why}"),
            }
        }
        Entry::InstanceIntended { .. } => return None,
        Entry::InstanceUp { server, .. } => format!("{server} is up"),
        Entry::InstanceFailed { server, why, .. } => format!("{server} failed: {why}"),
        Entry::EvidenceKept {
            server, evidence, ..
        } => format!("{server} left: {}", words::evidence(evidence)),
        Entry::SmokeFinished { report, .. } => format!("smoke tests: {}", smoke::summary(report)),
        Entry::WeightIntended {
            placement,
            shares,
            reason,
        } => {
            let known = state.placements.get(placement).map(|place| &place.releases);
            weight(
                known
                    .map(|known| words::shares(known, shares))
                    .unwrap_or_default(),
                reason,
            )
        }
        Entry::WeightSettled { .. } => "balancer shows the intended weights".to_owned(),
        Entry::WeightAbandoned { .. } => {
            "a raise from before the restart did not arrive; its step begins anew".to_owned()
        }
        Entry::StepPassed { step, verdict, .. } => {
            format!("step {step} passed: {}", verdict.because)
        }
        Entry::BatchBegun { step: 0, .. } => "its lead is at a share; the first batch".to_owned(),
        Entry::BatchBegun { step, .. } => format!("batch {step} is replaced; the next one"),
        Entry::Scaled { instances, .. } => format!("scaled to {instances} instances"),
        Entry::ServerDrained { server, reason, .. } => match reason {
            Some(reason) => format!("{server} taken out of traffic: {reason}"),
            None => format!("{server} taken out of traffic"),
        },
        Entry::ServerUndrained { server, .. } => format!("{server} back in traffic"),
        Entry::VerdictChanged { verdict, .. } => {
            format!("verdict {}: {}", verdict.class.word(), verdict.because)
        }
        Entry::Held { why, .. } => held(why),
        Entry::Resumed { .. } => "resumed".to_owned(),
        Entry::Promoted {
            to, soak_left_ms, ..
        } => promoted(*to, *soak_left_ms),
        Entry::AbortRequested { reason, .. } => match reason {
            Some(reason) => format!("abort: {reason}"),
            None => "abort".to_owned(),
        },
        Entry::RevertDecided { cause, .. } => format!("taken back: {cause}"),
        Entry::RolloutFinished {
            status, because, ..
        } => match status {
            Status::Succeeded => format!("done: {because}"),
            status => format!("{}: {because}", status.word()),
        },
        Entry::DriftFound {
            balancer,
            drift,
            wanted_percent,
            observed_percent,
            ..
        } => {
            let seen = format!(
                "{balancer} shows {} instead of {}",
                words::percent(*observed_percent),
                words::percent(*wanted_percent)
            );
            match drift {
                Drift::Above => format!("drift: {seen}; corrected"),
                Drift::BalancerRestarted => format!("balancer restarted: {seen}; set again"),
                Drift::Below => format!("drift: {seen}; held"),
            }
        }
        Entry::InstanceFound { server, .. } => {
            format!("{server} runs what nobody recorded; it is drained and stopped")
        }
        Entry::RetireIntended { why, .. } => format!("warm release goes: {why}"),
        Entry::DrainBegun { server, .. } => format!("{server} drains"),
        Entry::InstanceQuieted { server, .. } => format!("{server} takes no new work"),
        Entry::StopIntended { server, proof, .. } => match proof {
            IdleProof::Idle => format!("{server} is idle, stopping it"),
            IdleProof::Timeout => format!("{server} did not fall idle in time, stopping it"),
            IdleProof::NoTraffic => format!("{server} gets no requests, stopping it"),
            IdleProof::Ended => format!("{server} ended by itself, clearing it away"),
            IdleProof::NeverServed => format!("{server} never served, stopping it"),
        },
        Entry::InstanceStopped { server, .. } => format!("{server} is free"),
        Entry::Refused { verb, why, .. } => format!("{verb} refused: {why}"),
        Entry::Noted { text, .. } => format!("note: {text}"),
        Entry::HistoryGap { why, .. } => format!("the history has a gap: {why}"),
        Entry::ConfigReloaded { changes, more, .. } => {
            let count = changes.len() + *more as usize;
            let first = changes
                .first()
                .map_or("nothing changed", |line| line.as_str());
            match count {
                0 | 1 => format!("configuration reloaded: {first}"),
                _ => format!("configuration reloaded: {first}; and {} more", count - 1),
            }
        }
        Entry::LeaseTaken {
            balancer,
            runtime,
            from,
            reason,
        } => {
            let balancer = balancer.as_ref().map(|name| format!("balancer {name}"));
            let runtime = runtime.as_ref().map(|name| format!("runtime {name}"));
            let what: Vec<_> = balancer.into_iter().chain(runtime).collect();
            format!("{} taken over from {from}: {reason}", what.join(" and "))
        }
        Entry::PipelineStarted { .. }
        | Entry::StageIntended { .. }
        | Entry::StageConfirmed { .. }
        | Entry::StageEnded { .. }
        | Entry::PipelineCanceled { .. }
        | Entry::PipelineEnded { .. } => return pipeline::line(state, entry),
        Entry::Unknown => return None,
    })
}

fn weight(shares: String, reason: &WeightReason) -> String {
    match reason {
        WeightReason::Revert => format!("traffic back: {shares}"),
        WeightReason::Rollback => format!("all traffic at once: {shares}"),
        WeightReason::Step { step } => format!("step {step}: {shares}"),
        WeightReason::Promotion { .. } => format!("promoted: {shares}"),
    }
}

fn promoted(to: PromoteTo, soak_left_ms: u64) -> String {
    let to = match to {
        PromoteTo::Next => "promoted to the next step".to_owned(),
        PromoteTo::Percent(percent) => format!("promoted to {percent} %"),
        PromoteTo::Full => "promoted to 100 %".to_owned(),
    };
    match soak_left_ms {
        0 => to,
        left => format!("{to}, {} before the soak ended", words::span(left)),
    }
}

fn held(why: &HoldReason) -> String {
    match why {
        HoldReason::Person {
            reason: Some(reason),
            ..
        } => format!("held: {reason}"),
        HoldReason::Person { reason: None, .. } => "held".to_owned(),
        HoldReason::Drift { text } => format!("held: {text}"),
        HoldReason::NoData => "held: no data".to_owned(),
        HoldReason::TooFewRequests => "held: too few requests".to_owned(),
        HoldReason::Inconclusive => "held: the verdict stayed open".to_owned(),
        HoldReason::Capacity { text } => format!("held: {text}"),
        HoldReason::OutOfSight { text } => format!("held: {text}"),
        HoldReason::PauseStep => "held: the step waits for a person".to_owned(),
        HoldReason::Switch => "ready in the idle slot: a person begins the switch".to_owned(),
        HoldReason::Shift { text } => format!("held: the balancer does not follow: {text}"),
    }
}

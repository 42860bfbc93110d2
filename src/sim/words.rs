//! One line per event and action, for whoever replays a seed.

use crate::model::input::{Observation, Settled};
use crate::model::world::{Admin, BalancerReading};
use crate::model::{Action, Effect, Entry, Event};

pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Settled(settled) => format!("< {}", outcome(settled)),
        Event::Command(asked) => format!("< {} by {}", asked.command.verb(), asked.by),
        Event::Started(_) => "< STARTED".to_owned(),
        other => format!("< {other:?}"),
    }
}

fn outcome(settled: &Settled) -> String {
    let seen = match &settled.seen {
        None => "nothing seen".to_owned(),
        Some(Observation::Balancer {
            reading: Ok(reading),
            ..
        }) => weights(reading),
        Some(Observation::Balancer {
            reading: Err(why), ..
        }) => format!("balancer: {why}"),
        Some(Observation::Runtime {
            reading: Ok(reading),
            ..
        }) => reading
            .instances
            .iter()
            .map(|(server, view)| {
                let dead = if view.exited.is_some() { " exited" } else { "" };
                format!("{server}={:x}{dead} ", view.release.0.as_u128())
            })
            .collect(),
        Some(Observation::Runtime {
            reading: Err(why), ..
        }) => format!("runtime: {why}"),
        Some(Observation::Probe { server, result, .. }) => format!("probe {server} {result:?}"),
        Some(Observation::Metrics {
            source, reading, ..
        }) => match reading {
            Ok(_) => format!("metrics {source}"),
            Err(why) => format!("metrics {source}: {why}"),
        },
        Some(Observation::Smoke { .. }) => "smoke".to_owned(),
        Some(Observation::Evidence {
            server, reading, ..
        }) => match reading {
            Ok(found) => format!("evidence {server} found {}", found.is_some()),
            Err(why) => format!("evidence {server}: {why}"),
        },
        Some(Observation::Stage { id, result }) => format!("stage of {id}: {result:?}"),
        Some(Observation::Deploy { id, answer }) => format!("deploy of {id}: {answer:?}"),
        Some(Observation::Stock { runtime, found, .. }) => {
            format!("{runtime} told of {} earlier releases", found.len())
        }
    };
    format!(
        "#{} {:?} id {:?}: {seen}",
        settled.ticket, settled.outcome, settled.id
    )
}

fn weights(reading: &BalancerReading) -> String {
    let mut text = format!("{}:", reading.epoch);
    for (server, view) in &reading.servers {
        let admin = match view.admin {
            Admin::Ready => "",
            Admin::Drain => "drain ",
            Admin::Maintenance => "maint ",
        };
        let up = if view.up { "" } else { " down" };
        let (weight, n) = (view.weight, view.counters.requests);
        text += &format!(" {server}={admin}{weight}{up} n{n} s{}", view.sessions);
    }
    text
}

pub(super) fn action(action: &Action) -> String {
    match action {
        Action::Append(records) => {
            let entries: Vec<_> = records
                .iter()
                .map(|r| format!("{} {}", r.seq, entry(&r.entry)))
                .collect();
            format!("> append {}", entries.join(" | "))
        }
        Action::Start { ticket, effect, .. } => {
            format!("> start #{ticket} {}", self::effect(effect))
        }
        Action::Answer { request, answer } => format!("> answer {request}: {answer:?}"),
        other => format!("> {other:?}"),
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::SetWeights { id, settings, .. } => {
            let all: Vec<_> = settings
                .iter()
                .map(|(server, setting)| match setting.admin {
                    Admin::Ready => format!("{server}={}", setting.weight),
                    _ => format!("{server}=out"),
                })
                .collect();
            format!("set {id}: {}", all.join(" "))
        }
        Effect::StartInstance {
            id,
            server,
            release,
            keep_running,
            ..
        } => {
            format!(
                "run {id}: {server} {:x} keep {keep_running}",
                release.0.as_u128()
            )
        }
        Effect::QuietInstance { id, server, .. } => format!("quiet {id}: {server}"),
        Effect::StopInstance { id, server, .. } => format!("stop {id}: {server}"),
        Effect::Probe { server, .. } => format!("probe {server}"),
        Effect::ReadEvidence { server, .. } => format!("read what {server} left"),
        Effect::ReadStock { runtime, .. } => format!("ask {runtime} for earlier releases"),
        Effect::ReadBalancer { .. } => "read balancer".to_owned(),
        Effect::ReadMetrics { source, .. } => format!("ask {source}"),
        Effect::ReadRuntime { .. } => "read runtime".to_owned(),
        other => format!("{other:?}"),
    }
}

pub(super) fn entry(entry: &Entry) -> String {
    match entry {
        Entry::RolloutStarted {
            id,
            rollout,
            release,
            ..
        } => {
            format!(
                "rollout_started {:?} {:x} of {:x}",
                rollout,
                id.0.as_u128() >> 64,
                release.id.0.as_u128()
            )
        }
        Entry::WeightIntended { shares, reason, .. } => {
            let all: Vec<_> = shares
                .iter()
                .map(|(r, p)| format!("{:x}={p}", r.0.as_u128()))
                .collect();
            format!("weight_intended {} {reason:?}", all.join(" "))
        }
        Entry::VerdictChanged { verdict, .. } => {
            format!("verdict_changed {:?}: {}", verdict.class, verdict.because)
        }
        Entry::StepPassed { step, .. } => format!("step_passed {step}"),
        Entry::InstanceIntended { server, .. }
        | Entry::InstanceUp { server, .. }
        | Entry::InstanceStopped { server, .. }
        | Entry::InstanceQuieted { server, .. }
        | Entry::DrainBegun { server, .. } => format!("{} {server}", entry.kind()),
        Entry::InstanceFailed { server, why, .. } => format!("instance_failed {server}: {why}"),
        Entry::StopIntended { server, proof, .. } => format!("stop_intended {server} {proof:?}"),
        Entry::Held { why, .. } => format!("held {why:?}"),
        Entry::RevertDecided { cause, .. } => format!("revert_decided: {cause}"),
        Entry::RolloutFinished {
            status, because, ..
        } => format!("rollout_finished {status:?}: {because}"),
        Entry::DriftFound {
            drift,
            wanted_percent,
            observed_percent,
            ..
        } => {
            format!("drift_found {drift:?} wanted {wanted_percent} observed {observed_percent}")
        }
        other => other.kind().to_owned(),
    }
}

//! What a careful person should know before a command: about traffic, capacity, peers, and where
//! traffic would return to.

use crate::engine::{self, Look, capacity};
use crate::model::Placement;
use crate::model::command::Command;
use crate::model::state::InstanceStatus;
use crate::model::{Clean, Phase, PlacementState, Rollout, World};
use crate::view::preview::PreviewLine;
use crate::view::traffic::Demand;
use crate::view::words;

/// What is known of balancers and runtimes and matters to whoever moves traffic.
pub(super) fn of_peers(world: &World, placement: &Placement, command: &Command) -> Vec<Clean> {
    let moves = !matches!(
        command,
        Command::Hold { .. } | Command::Resume { .. } | Command::Note { .. }
    );
    let place = world.placements.get(placement);
    let Some(place) = place.filter(|_| moves) else {
        return Vec::new();
    };
    let balancers = place.balancers.values().flat_map(|view| &view.notes);
    let deploys = matches!(command, Command::Deploy { .. });
    let runtimes = place.runtimes.values().filter(|_| deploys);
    let runtimes = runtimes.flat_map(|view| &view.notes);
    balancers.chain(runtimes).cloned().collect()
}

pub(super) fn of(command: &Command, look: &Look<'_>) -> Vec<Clean> {
    let mut all = Vec::new();
    let Some(rollout) = &look.place.rollout else {
        return all;
    };
    if let (Command::Promote { .. }, Phase::Soaking { since_ms }) = (command, &rollout.phase) {
        let soak_ms = engine::steps::current_step(look, rollout).map_or(0, |step| step.soak_ms);
        let soaked_ms = look.now_ms.saturating_sub(*since_ms);
        if soaked_ms < soak_ms {
            let (done, all_of) = (words::clock(soaked_ms), words::clock(soak_ms));
            all.push(Clean::new(&format!(
                "the soak is not finished ({done} of {all_of})"
            )));
        }
    }
    if let Command::Promote { to, .. } = command
        && let Some(percent) = super::promoted_share(Some(look), *to)
        && let Some(load) = capacity::overload(look, rollout, percent)
    {
        all.push(load.sentence(capacity::requests_per_s(look)));
    }
    if let Command::Abort { .. } | Command::Rollback { .. } = command {
        all.extend(abort_warning(look, rollout));
    }
    all
}

/// Where traffic would go to something that cannot serve, a person should know.
fn abort_warning(look: &Look<'_>, rollout: &Rollout) -> Option<Clean> {
    let Some(from) = rollout.from else {
        return Some("there is no stable version to return to: nothing will serve".into());
    };
    let up = look
        .place
        .servers_of(from)
        .filter(|(_, i)| i.status == InstanceStatus::Up)
        .count();
    let serves = look.can_serve(from);
    (!serves || up == 0).then(|| {
        let limit = words::span(look.place.health_of(from).start_timeout_ms);
        Clean::new(&format!(
            "stable is down: it is brought up first (at most {limit})"
        ))
    })
}

/// Whether the steps to come would see enough requests, at the rate that is measured.
pub(super) fn little_traffic(
    command: &Command,
    look: &Look<'_>,
    after: &PlacementState,
) -> Option<PreviewLine> {
    let share = match command {
        Command::Deploy { .. } => 0,
        Command::Promote { to, .. } => super::promoted_share(Some(look), *to)?,
        Command::Resume { .. } => look.place.share(look.place.rollout.as_ref()?.release),
        _ => return None,
    };
    // Without anything stable there is one step, and nothing was measured.
    look.place.stable()?;
    // Where instances are replaced, their own probes let it pass: no number of requests is needed.
    let canary = Some(&after.spec.canary).filter(|_| after.spec.strategy.stands_beside())?;
    let steps = after.spec.steps();
    let at = steps.partition_point(|step| step.weight_percent < share);
    let demand = Demand {
        steps: &steps[at..],
        min_requests: canary.min_requests,
        max_soak_factor: canary.max_soak_factor,
        requests_per_s: capacity::requests_per_s(look)?,
    };
    Some(super::line("Traffic", &demand.shortfall()?))
}

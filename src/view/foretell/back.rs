//! What a rollback checks before it moves traffic, and what it restores beside the version.

use super::{line, version};
use crate::engine::Look;
use crate::model::command::{Command, Urgency};
use crate::model::service::CheckKind;
use crate::model::{Clean, PlacementState, ReleaseId, Stock};
use crate::view::preview::PreviewLine;
use crate::view::ready;
use crate::view::snapshot::HostStock;

/// Only of a rollback, and only what differs from the usual one.
pub(super) fn lines(
    command: &Command,
    look: Option<&Look<'_>>,
    after: &PlacementState,
) -> Vec<PreviewLine> {
    let Command::Rollback { urgency, .. } = command else {
        return Vec::new();
    };
    let place = look.map(|look| look.place);
    if let Some(open) = place.and_then(|place| place.rollout.as_ref()) {
        let skips = format!(
            "none: this aborts {}, which has nothing to skip",
            open.number
        );
        return match urgency {
            Urgency::Ordinary => Vec::new(),
            Urgency::Emergency => vec![line("Skips", &skips)],
        };
    }
    let open = after.rollout.as_ref().map(|rollout| rollout.release);
    let Some(target) = open.or(after.last.as_ref().map(|last| last.release)) else {
        return Vec::new();
    };
    let skips = (*urgency == Urgency::Emergency).then(|| line("Skips", &skips(after, target)));
    let stock = look.and_then(|look| stock(look, target));
    let all = skips.into_iter().chain(restores(after, target));
    all.chain(stock).collect()
}

/// What has to be pulled before it can be begun.
fn stock(look: &Look<'_>, target: ReleaseId) -> Option<PreviewLine> {
    let hosts = ready::hosts(look, target);
    let pulls = hosts
        .iter()
        .any(|host| matches!(host.stock, Stock::Pull { .. }));
    pulls.then(|| {
        line(
            "Pulls",
            &ready::words(&hosts, "nothing").unwrap_or_default(),
        )
    })
}

/// Where what a rollback needs is nowhere to be had.
pub(super) fn warnings(
    command: &Command,
    look: &Look<'_>,
    after: Option<&PlacementState>,
) -> Vec<Clean> {
    let place = look.place;
    let open = after.and_then(|after| after.rollout.as_ref());
    let target = open.map(|rollout| rollout.release);
    let (Command::Rollback { .. }, None, Some(target)) = (command, &place.rollout, target) else {
        return Vec::new();
    };
    let was = version(place, target);
    let gone = |host: HostStock| match host.stock {
        Stock::Gone { why } => {
            let text = format!("{was} cannot be started on {}: {why}", host.runtime);
            Some(Clean::new(&text))
        }
        _ => None,
    };
    let gone = ready::hosts(look, target).into_iter().filter_map(gone);
    match place.servers_of(target).next() {
        Some(_) => Vec::new(),
        None => gone.collect(),
    }
}

/// What an emergency leaves out beside the usual rollback.
fn skips(place: &PlacementState, target: ReleaseId) -> String {
    const USUAL: &str = "no rollback makes smoke tests, soaks or asks the judge";
    match place.health_of(target).successes {
        1 => format!("nothing more: 1 passed probe makes an instance up anyway; {USUAL}"),
        more => format!("1 passed probe makes an instance up, instead of {more} in a row; {USUAL}"),
    }
}

/// Where the configuration has moved on since the release was made.
fn restores(place: &PlacementState, target: ReleaseId) -> Option<PreviewLine> {
    let (then, now) = (place.health_of(target), &place.spec.health);
    if then == now {
        return None;
    }
    let was = version(place, target);
    let text = match then.kind == now.kind {
        true => format!("the timing of {was}'s health check"),
        false => format!(
            "{was}'s health check: {}, not {}",
            asks(&then.kind),
            asks(&now.kind)
        ),
    };
    Some(line("Restores", &text))
}

fn asks(kind: &CheckKind) -> String {
    match kind {
        CheckKind::Tcp => "a TCP connection".to_owned(),
        CheckKind::Command { command } => command.join(" "),
        CheckKind::Http(check) => format!("{} {}", check.method, check.path),
    }
}

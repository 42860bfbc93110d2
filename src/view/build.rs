//! The placements of a snapshot.

use super::snapshot::{
    ClosedView, InstanceRow, PeerView, PlacementView, ReleaseView, Role, RollbackView, TrafficView,
};
use super::trend;
use super::words;
use super::{ready, rollout, rules, slots};
use crate::engine::{self, Look, look::Health};
use crate::model::state::{Instance, InstanceStatus};
use crate::model::world::{Admin, ServerView};
use crate::model::{
    Clean, Placement, PlacementState, ReleaseId, Rollout, RolloutKind, ServerName, State, Stock,
    World,
};

/// What the configuration says of a placement, for those that have no history yet.
#[derive(Debug, Clone)]
pub struct About {
    /// Which one.
    pub placement: Placement,
    /// Whether forward moves ask for the environment's name.
    pub protected: bool,
}

/// Every placement, configured or recorded, in the order of their names.
pub fn placements(state: &State, world: &World, configured: &[About]) -> Vec<PlacementView> {
    let mut views: Vec<_> = configured
        .iter()
        .filter(|about| !state.placements.contains_key(&about.placement))
        .map(empty)
        .chain(state.placements.keys().filter_map(|placement| {
            Look::at(state, world, placement).map(|look| view(&look, configured))
        }))
        .collect();
    views.sort_by(|a, b| a.placement.cmp(&b.placement));
    views
}

fn empty(about: &About) -> PlacementView {
    PlacementView {
        placement: about.placement.clone(),
        protected: about.protected,
        strategy: None,
        slots: None,
        stable: None,
        rollout: None,
        last: None,
        traffic: TrafficView::default(),
        instances: Vec::new(),
        metrics: Vec::new(),
        trends: Vec::new(),
        tree: Vec::new(),
        rollback: None,
        ready: Vec::new(),
        peers: Vec::new(),
    }
}

fn view(look: &Look<'_>, configured: &[About]) -> PlacementView {
    let place = look.place;
    let verdict = place
        .rollout
        .as_ref()
        .map(|rollout| engine::verdict(look, rollout));
    // Nothing new is judged in a restart.
    let restarts = |rollout: &Rollout| rollout.kind == RolloutKind::Restart;
    let judged = match place.rollout.as_ref().is_some_and(restarts) {
        true => None,
        false => verdict.as_ref(),
    };
    let about = configured
        .iter()
        .find(|about| about.placement == *look.placement);
    PlacementView {
        placement: look.placement.clone(),
        protected: about.map_or(place.spec.protected, |about| about.protected),
        strategy: Some(place.spec.strategy.word().into()),
        slots: slots::view(look),
        stable: place.stable().and_then(|id| release(place, id)),
        rollout: place
            .rollout
            .as_ref()
            .zip(verdict.as_ref())
            .and_then(|(open, verdict)| rollout::view(look, open, verdict)),
        last: closed(place),
        traffic: traffic(look),
        instances: place
            .instances
            .iter()
            .filter_map(|(s, i)| instance(look, s, i))
            .collect(),
        metrics: rules::metrics(look, judged),
        trends: trend::trends(look),
        tree: judged
            .iter()
            .flat_map(|verdict| verdict.findings.iter().map(rules::tree_row))
            .collect(),
        rollback: rollback(look),
        ready: ready::versions(look),
        peers: peers(look),
    }
}

pub(super) fn release(place: &PlacementState, id: ReleaseId) -> Option<ReleaseView> {
    let release = place.releases.get(&id)?;
    Some(ReleaseView {
        id,
        version: release.version.clone(),
    })
}

fn closed(place: &PlacementState) -> Option<ClosedView> {
    let last = place.last.as_ref()?;
    Some(ClosedView {
        id: last.id,
        number: last.number,
        kind: last.kind,
        release: release(place, last.release)?,
        status: last.status,
        at_ms: last.at_ms,
        because: last.because.clone(),
    })
}

/// Length of the window for observed shares and rates.
pub(super) const OBSERVED_MS: u64 = 5_000;

fn traffic(look: &Look<'_>) -> TrafficView {
    let since_ms = look.now_ms.saturating_sub(OBSERVED_MS);
    let counted = |release| look.counted(release, since_ms, look.now_ms).requests;
    let mut releases: Vec<_> = look.place.instances.values().map(|i| i.release).collect();
    releases.sort();
    releases.dedup();
    let all: u64 = releases.iter().map(|release| counted(*release)).sum();
    // A restart moves no traffic from one release to another.
    let moves = |rollout: &&Rollout| rollout.kind != RolloutKind::Restart;
    let open = look.place.rollout.as_ref().filter(moves);
    let canary = open.map(|rollout| rollout.release);
    let observed = canary
        .filter(|_| all > 0)
        .map(|canary| counted(canary) as f64 * 100.0 / all as f64);
    let known = look.newest_common_reading_ms();
    TrafficView {
        wanted_percent: canary.map(|canary| f64::from(look.place.share(canary))),
        applied_percent: canary.and_then(|canary| look.highest_applied_percent(canary)),
        observed_percent: observed,
        requests_per_s: trend::rate(look, &releases, since_ms),
        read_ms: known,
    }
}

fn role(place: &PlacementState, release: ReleaseId) -> Role {
    match release {
        _ if place.stable() == Some(release) => Role::Stable,
        _ if place.canary() == Some(release) => Role::Canary,
        _ => Role::Warm,
    }
}

fn instance(look: &Look<'_>, server: &ServerName, instance: &Instance) -> Option<InstanceRow> {
    let at_balancer = look
        .place
        .spec
        .balancers
        .iter()
        .find_map(|backend| look.reading(&backend.balancer)?.servers.get(server));
    let process = look.instance(server).flatten();
    let own = look.counted_on(server, instance.since_ms..=look.now_ms);
    let health = look.health(server);
    let exited = process.and_then(|process| process.exited.clone().or(process.waiting.clone()));
    let trouble = match &health {
        Health::Bad(why) => Some(why.clone()),
        Health::Good | Health::Unknown => exited,
    };
    Some(InstanceRow {
        server: server.clone(),
        address: look.place.spec.address(server)?.to_string(),
        role: role(look.place, instance.release),
        version: look.place.releases.get(&instance.release)?.version.clone(),
        release: instance.release,
        rollout: instance.rollout,
        status: status(instance),
        healthy: match health {
            Health::Good => Some(true),
            Health::Bad(_) => Some(false),
            Health::Unknown => None,
        },
        balancer: at_balancer.map(balancer_word).unwrap_or_default(),
        weight: at_balancer.map(|view| view.effective_weight() as u16),
        sessions: at_balancer.map(|view| view.sessions),
        requests: own.requests,
        errors: own.errors,
        restarts: process.map_or(0, |process| process.restarts),
        pid: process.map(|process| process.pid).filter(|pid| *pid > 0),
        started_ms: process.map(|process| process.started_ms),
        probe_ms: look.probe_ms(server, instance.release),
        trouble,
        out: look.place.out.contains(server),
    })
}

fn status(instance: &Instance) -> Clean {
    match &instance.status {
        InstanceStatus::Starting => "starting".into(),
        InstanceStatus::Up => "up".into(),
        InstanceStatus::Failed { .. } => "failed".into(),
        InstanceStatus::Draining { .. } => "draining".into(),
        InstanceStatus::Stopping => "stopping".into(),
    }
}

fn balancer_word(view: &ServerView) -> Clean {
    match (view.admin, view.up) {
        (Admin::Ready, true) => "ready".into(),
        (Admin::Ready, false) => "down".into(),
        (Admin::Drain, _) => "drain".into(),
        (Admin::Maintenance, _) => "maint".into(),
    }
}

fn rollback(look: &Look<'_>) -> Option<RollbackView> {
    let place = look.place;
    let target = match &place.rollout {
        Some(rollout) if rollout.kind == RolloutKind::Deploy => place.stable()?,
        Some(_) => return None,
        None => place.previous()?,
    };
    let warm_until_ms = place.warm.get(&target).copied();
    let up = place
        .servers_of(target)
        .any(|(_, i)| i.status == InstanceStatus::Up);
    let readiness = match (up, warm_until_ms) {
        (true, Some(_)) => "warm".to_owned(),
        (true, None) => "up now".to_owned(),
        (false, _) => begun_anew(look, target),
    };
    Some(RollbackView {
        version: place.releases.get(&target)?.version.clone(),
        readiness: Clean::new(&readiness),
        warm_until_ms: warm_until_ms.filter(|_| up),
    })
}

/// How a release comes back whose instances are gone: by what its hosts still have.
fn begun_anew(look: &Look<'_>, target: ReleaseId) -> String {
    let limit = words::span(look.place.health_of(target).start_timeout_ms);
    let hosts = ready::hosts(look, target);
    let gone = hosts.iter().find_map(|host| match &host.stock {
        Stock::Gone { why } => Some(format!("gone on {}: {why}", host.runtime)),
        _ => None,
    });
    let pulls = hosts
        .iter()
        .any(|host| matches!(host.stock, Stock::Pull { .. }));
    match (gone, pulls) {
        (Some(gone), _) => gone,
        (None, true) => {
            let stock = ready::words(&hosts, "here").unwrap_or_default();
            format!("{stock}, then started (up to {limit})")
        }
        (None, false) => format!("must be started (up to {limit})"),
    }
}

fn peers(look: &Look<'_>) -> Vec<PeerView> {
    let applied = |name: &str| {
        let mut balancers = look.place.spec.balancers.iter();
        let backend = balancers.find(|backend| backend.balancer.as_str() == name)?;
        let reading = look.reading(&backend.balancer)?;
        Some(look.applied_percent(reading, look.place.canary()?))
    };
    let sights = look.sights().map(|sight| PeerView {
        name: Clean::new(&format!("{} {}", sight.kind, sight.name)),
        trouble: sight.trouble.cloned(),
        read_ms: sight.read_ms,
        applied_percent: (sight.kind == "balancer")
            .then(|| applied(sight.name))
            .flatten(),
    });
    let metrics = look.place.spec.metrics.iter().map(|source| {
        let view = look.seen.and_then(|seen| seen.metrics.get(&source.name));
        PeerView {
            name: Clean::new(&format!("metrics {}", source.name)),
            trouble: view.and_then(|view| view.trouble.clone()),
            read_ms: view.and_then(|view| view.read_ms),
            applied_percent: None,
        }
    });
    sights.chain(metrics).collect()
}

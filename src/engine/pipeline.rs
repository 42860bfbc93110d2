//! Pipelines: which stage is due, and what becomes of those that end.
//!
//! A stage begins when all that it needs has passed or was skipped, and never after a failure. A
//! deploy stage is a rollout like any other, asked for once by a request id of its own; it ends as
//! that rollout does. A run that was canceled ends what it began, but never a rollout: that is for
//! abort.

mod command;
mod fill;
mod plan;

pub use command::begun;
pub(super) use command::{decide, refuse_late};
pub use fill::Fill;
pub(super) use plan::plan;

use crate::model::container::Pin;
use crate::model::pipeline::{
    DeployWork, PipelineSpec, Rerun, Run, RunResult, StageResult, StageRun, StageSpec, StageStatus,
    StageWork, When, is_like,
};
use crate::model::world::StageView;
use crate::model::{
    Clean, Entry, EnvName, Placement, PlacementState, Refusal, RequestId, RolloutNumber, RunId,
    RunNumber, StageName, State, Status, World,
};
use std::collections::{BTreeMap, BTreeSet};

/// A run seen whole.
#[derive(Clone, Copy)]
struct Sight<'a> {
    state: &'a State,
    world: &'a World,
    number: RunNumber,
    run: &'a Run,
}

/// What moves by itself: the first run that something is due in.
pub(super) fn progress(state: &State, world: &World) -> Vec<Entry> {
    let mut due = sights(state, world).map(|sight| advance(&sight));
    due.find(|entries| !entries.is_empty()).unwrap_or_default()
}

fn sights<'a>(state: &'a State, world: &'a World) -> impl Iterator<Item = Sight<'a>> {
    let open = state.pipelines.open();
    open.map(move |(number, run)| Sight {
        state,
        world,
        number: *number,
        run,
    })
}

impl<'a> Sight<'a> {
    fn stages(&self) -> impl Iterator<Item = (&'a StageSpec, &'a StageRun)> {
        let run = self.run;
        let stages = run.spec.stages.iter();
        stages.filter_map(move |spec| Some((spec, run.stages.get(&spec.name)?)))
    }

    /// Whether an earlier engine intended the attempt that is recorded as under way: whether it
    /// began, and how far it got, nobody knows.
    fn is_left_over(&self, stage: &StageRun) -> bool {
        stage.since_ms <= self.world.since_ms
    }

    /// The attempt under way, once this engine began it.
    fn begun(&self, stage: &StageRun) -> Option<&'a StageView> {
        let view = self.world.stages.get(&stage.intent);
        view.filter(|view| view.begun)
    }

    /// Whether it is its turn: so many runs of its pipeline may be under way at once.
    fn is_admitted(&self) -> bool {
        let open = self.state.pipelines.open();
        let before = open
            .filter(|(number, run)| **number < self.number && run.spec.name == self.run.spec.name);
        before.count() < self.run.spec.at_once.max(1) as usize
    }

    /// The first stage that failed for good.
    fn failed(&self) -> Option<&'a StageSpec> {
        let mut stages = self.stages();
        stages
            .find(|(_, stage)| matches!(stage.status, StageStatus::Failed { .. }))
            .map(|(spec, _)| spec)
    }

    fn ended(&self, spec: &StageSpec, stage: &StageRun, result: StageResult) -> Entry {
        Entry::StageEnded {
            run: self.number,
            stage: spec.name.clone(),
            attempt: stage.attempts,
            result,
            again_ms: None,
        }
    }
}

/// The next group of entries of one run; the rest is decided once these are folded.
fn advance(sight: &Sight<'_>) -> Vec<Entry> {
    let ended: Vec<_> = sight
        .stages()
        .filter_map(|(spec, stage)| end(sight, spec, stage))
        .collect();
    if !ended.is_empty() {
        return ended;
    }
    let over = sight.stages().all(|(_, stage)| stage.status.is_over());
    match (&sight.run.canceled, sight.failed()) {
        _ if over => vec![Entry::PipelineEnded {
            run: sight.number,
            result: result(sight),
        }],
        (Some(_), _) => give_up(sight, &StageResult::Canceled),
        (None, Some(failed)) => {
            let why = Clean::new(&format!("{} failed", failed.name));
            give_up(sight, &StageResult::Skipped { why })
        }
        (None, None) if !sight.is_admitted() => Vec::new(),
        (None, None) => sight
            .stages()
            .filter_map(|(spec, stage)| begin(sight, spec, stage))
            .collect(),
    }
}

fn result(sight: &Sight<'_>) -> RunResult {
    let canceled = |(_, stage): (_, &StageRun)| stage.status == StageStatus::Canceled;
    if sight.failed().is_some() {
        RunResult::Failed
    } else if sight.stages().any(canceled) {
        RunResult::Canceled
    } else {
        RunResult::Passed
    }
}

/// Whatever is not under way is not begun any more.
fn give_up(sight: &Sight<'_>, result: &StageResult) -> Vec<Entry> {
    let idle = sight
        .stages()
        .filter(|(_, stage)| !stage.status.is_over() && stage.status != StageStatus::Running);
    idle.map(|(spec, stage)| sight.ended(spec, stage, result.clone()))
        .collect()
}

/// What a stage that is under way came to, if it ended.
fn end(sight: &Sight<'_>, spec: &StageSpec, stage: &StageRun) -> Option<Entry> {
    if stage.status != StageStatus::Running {
        return None;
    }
    let result = match &spec.work {
        StageWork::Deploy(work) => deployed(sight, spec, stage, work)?,
        // What was begun could be filled in.
        _ if sight.begun(stage).is_some() => reported(sight, stage)?,
        _ => plan::unfilled(sight, spec).or_else(|| reported(sight, stage))?,
    };
    let failed = matches!(result, StageResult::Failed { .. });
    let again = failed && stage.attempts <= spec.retries && sight.run.canceled.is_none();
    let doublings = stage.attempts.saturating_sub(1).min(16);
    let again_ms = again.then(|| {
        sight
            .world
            .now_ms
            .saturating_add(spec.backoff_ms << doublings)
    });
    Some(Entry::StageEnded {
        run: sight.number,
        stage: spec.name.clone(),
        attempt: stage.attempts,
        result,
        again_ms,
    })
}

/// What was reported of the attempt under way. One that an earlier engine began is not heard of.
fn reported(sight: &Sight<'_>, stage: &StageRun) -> Option<StageResult> {
    if sight.is_left_over(stage) {
        let why = "the engine ended while it was under way".into();
        return Some(StageResult::Unknown { why });
    }
    match sight.begun(stage) {
        Some(view) => view.result.clone(),
        None => sight.run.canceled.as_ref().map(|_| StageResult::Canceled),
    }
}

/// The request id of a stage's rollout: asked twice, it begins once.
fn request_id(run: RunId, spec: &StageSpec, stage: &StageRun) -> Option<RequestId> {
    format!("pipeline/{run}/{}/{}", spec.name, stage.attempts)
        .parse()
        .ok()
}

/// The rollout that a stage is, once it began.
pub fn rollout(
    state: &State,
    run: RunId,
    spec: &StageSpec,
    stage: &StageRun,
) -> Option<RolloutNumber> {
    placement(spec)?;
    let begun = state.requested(&request_id(run, spec, stage)?)?;
    Some(begun.number)
}

/// How a stage's rollout ended, or why it never began.
fn deployed(
    sight: &Sight<'_>,
    spec: &StageSpec,
    stage: &StageRun,
    work: &DeployWork,
) -> Option<StageResult> {
    let failed = |why: &str| {
        Some(StageResult::Failed {
            why: Clean::new(why),
        })
    };
    let Some(id) = request_id(sight.run.id, spec, stage) else {
        return failed("its request id is too long; give the stage a shorter name");
    };
    let Some(begun) = sight.state.requested(&id) else {
        return not_begun(sight, spec, stage);
    };
    let place = sight.state.placements.get(&work.spec.placement)?;
    let open = place.rollout.as_ref().map(|rollout| rollout.number);
    if open == Some(begun.number) {
        return None;
    }
    let closed = place
        .last
        .as_ref()
        .filter(|last| last.number == begun.number);
    let Some(closed) = closed else {
        return failed(&format!(
            "nobody saw how rollout {} ended; see its history",
            begun.number
        ));
    };
    if closed.status != Status::Succeeded {
        return failed(&format!("rollout {}: {}", begun.number, closed.because));
    }
    let mut values = BTreeMap::from([
        ("rollout".to_owned(), Clean::new(&begun.number.to_string())),
        ("version".to_owned(), Clean::new(begun.version.as_str())),
    ]);
    values.extend(digest(place).map(|digest| ("digest".to_owned(), Clean::new(digest))));
    Some(StageResult::Passed { values })
}

/// What the stable release's image was.
fn digest(place: &PlacementState) -> Option<&str> {
    let release = place.releases.get(&place.stable()?)?;
    match release.workload.container.as_ref()?.pin.as_ref()? {
        Pin::Digest(digest) => Some(digest),
        Pin::HostImage(_) => None,
    }
}

/// A stage whose rollout has not begun: it is over once that was refused for good, or its time is
/// up.
fn not_begun(sight: &Sight<'_>, spec: &StageSpec, stage: &StageRun) -> Option<StageResult> {
    if sight.run.canceled.is_some() {
        return Some(StageResult::Canceled);
    }
    if let Err(why) = Fill::of(sight.run).deploy(spec) {
        return Some(StageResult::Failed { why });
    }
    let view = sight.world.stages.get(&stage.intent)?;
    let (_, refusal) = view.refused.as_ref()?;
    let for_good = matches!(
        refusal,
        Refusal::Impossible { .. } | Refusal::Forbidden { .. }
    );
    let late = stage.since_ms + spec.timeout_ms <= sight.world.now_ms;
    (for_good || late).then(|| StageResult::Failed {
        why: Clean::new(&refusal.to_string()),
    })
}

/// The beginning of a stage that is due.
fn begin(sight: &Sight<'_>, spec: &StageSpec, stage: &StageRun) -> Option<Entry> {
    let intended = |attempt| {
        Some(Entry::StageIntended {
            run: sight.number,
            stage: spec.name.clone(),
            attempt,
        })
    };
    match &stage.status {
        StageStatus::Waiting if !is_ready(sight.run, spec) => None,
        StageStatus::Waiting => {
            if let Some(why) = skipped(sight, spec) {
                return Some(sight.ended(spec, stage, StageResult::Skipped { why }));
            }
            if waits_for_person(spec, stage) || is_behind(sight, spec) {
                return None;
            }
            intended(1)
        }
        StageStatus::Resting { until_ms, .. } => {
            let due = *until_ms <= sight.world.now_ms;
            due.then(|| intended(stage.attempts + 1)).flatten()
        }
        StageStatus::Unknown { .. } => {
            let again = spec.rerun == Rerun::Safe || stage.confirmed;
            again.then(|| intended(stage.attempts + 1)).flatten()
        }
        _ => None,
    }
}

fn is_ready(run: &Run, spec: &StageSpec) -> bool {
    let passed = |name| {
        run.stages
            .get(name)
            .is_some_and(|stage| stage.status.lets_on())
    };
    spec.needs.iter().all(passed)
}

/// Whether a stage waits until a person lets it begin.
pub fn waits_for_person(spec: &StageSpec, stage: &StageRun) -> bool {
    match (&spec.work, &stage.status) {
        (_, StageStatus::Unknown { .. }) => spec.rerun == Rerun::Ask && !stage.confirmed,
        (StageWork::Deploy(work), StageStatus::Waiting) => work.confirm && !stage.confirmed,
        _ => false,
    }
}

/// Whether an older run is about to deploy to the same place, or does: it goes first.
fn is_behind(sight: &Sight<'_>, spec: &StageSpec) -> bool {
    let StageWork::Deploy(work) = &spec.work else {
        return false;
    };
    let deploys = |(other, stage): (&StageSpec, &StageRun)| {
        stage.status == StageStatus::Running && placement(other) == Some(&work.spec.placement)
    };
    let mut others = sights(sight.state, sight.world).filter(|other| other.number < sight.number);
    others.any(|other| other.stages().any(deploys))
}

/// Where a stage deploys to.
pub fn placement(spec: &StageSpec) -> Option<&Placement> {
    match &spec.work {
        StageWork::Deploy(work) => Some(&work.spec.placement),
        _ => None,
    }
}

/// Why a stage is not done in this run, if it is not.
fn skipped(sight: &Sight<'_>, spec: &StageSpec) -> Option<Clean> {
    let trigger = &sight.run.trigger;
    let When {
        branches,
        environments,
    } = &spec.when;
    let branch = trigger.branch.as_str();
    if !branches.is_empty() && !branches.iter().any(|pattern| is_like(pattern, branch)) {
        let only = branches.join(", ");
        return Some(Clean::new(&format!("only for {only}, this is {branch}")));
    }
    let target = trigger.environment.as_ref()?;
    let allowed = environments.is_empty() || environments.contains(target);
    let beyond = beyond(&sight.run.spec, target).contains(&spec.name);
    (!allowed || beyond).then(|| Clean::new(&format!("this run goes as far as {target}")))
}

/// Stages that deploy to, or need a deploy to, an environment that a run never reaches which goes as
/// far as the target. Stages are declared after what they need.
fn beyond<'a>(run: &'a PipelineSpec, target: &EnvName) -> BTreeSet<&'a StageName> {
    let mut leads = BTreeSet::new();
    for stage in run.stages.iter().rev() {
        let reaches = placement(stage).is_some_and(|at| at.environment == *target);
        if reaches || leads.contains(&stage.name) {
            leads.insert(&stage.name);
            leads.extend(&stage.needs);
        }
    }
    let mut beyond = BTreeSet::new();
    for stage in &run.stages {
        let elsewhere = placement(stage).is_some() && !leads.contains(&stage.name);
        if elsewhere || stage.needs.iter().any(|name| beyond.contains(name)) {
            beyond.insert(&stage.name);
        }
    }
    beyond
}

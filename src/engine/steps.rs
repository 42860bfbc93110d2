//! What the strategies share: instances verified, weight set and read back, a share watched while
//! the judge looks.

use super::look::Look;
use super::{capacity, command, instance, parts, sources};
use crate::analysis;
use crate::model::entry::WeightReason;
use crate::model::service::Step;
use crate::model::state::{DRILL_OVER, Hold, HoldReason};
use crate::model::verdict::{Verdict, VerdictClass};
use crate::model::{Clean, Entry, Rollout, RolloutKind, Status};

/// Whether what a phase waits for is there, or what is to be recorded on the way.
pub(super) enum Ready {
    /// It is there.
    Yes,
    /// Not yet; these come first, if any.
    Not(Vec<Entry>),
}

/// Brings up so many instances beside the old ones, puts them to the smoke tests, and looks
/// whether nothing stands in the way of the first weight.
pub(super) fn stand_beside(
    look: &Look<'_>,
    rollout: &Rollout,
    need: usize,
    since_ms: u64,
) -> Ready {
    let entries = instance::bring_up(look, rollout, need, since_ms);
    if !entries.is_empty() || !command::all_well(look, rollout, need) {
        return Ready::Not(entries);
    }
    verified(look, rollout)
}

/// What comes between instances that are well and their first traffic.
pub(super) fn verified(look: &Look<'_>, rollout: &Rollout) -> Ready {
    let smoke = smoke(look, rollout);
    if !smoke.is_empty() {
        return Ready::Not(smoke);
    }
    let waits = instance::smokes(look, rollout) && rollout.smoke.is_none();
    if waits || look.out_of_sight().is_some() {
        return Ready::Not(Vec::new());
    }
    if let Some(hold) = &rollout.hold {
        let fits = matches!(hold.why, HoldReason::Capacity { .. }) && fits_again(look, rollout);
        return Ready::Not(fits.then(|| resumed(look)).into_iter().collect());
    }
    Ready::Yes
}

/// The first step's weight.
pub(super) fn first(look: &Look<'_>, rollout: &Rollout) -> Vec<Entry> {
    let steps = rollout.steps(&look.place.spec);
    let reason = WeightReason::Step { step: 1 };
    let raise = |step: &Step| raise(look, rollout, step.weight_percent, reason);
    steps.first().map(raise).into_iter().collect()
}

/// The next step's weight; held where the instances that are up could not carry it.
fn raise(look: &Look<'_>, rollout: &Rollout, percent: u8, reason: WeightReason) -> Entry {
    match capacity::overload(look, rollout, percent) {
        None => weight(look, rollout, percent, reason),
        Some(load) => {
            let text = load.sentence(capacity::requests_per_s(look));
            held(look, HoldReason::Capacity { text })
        }
    }
}

/// Takes in a smoke run; one failed critical test ends the rollout before it had traffic.
fn smoke(look: &Look<'_>, rollout: &Rollout) -> Vec<Entry> {
    let report = look.seen.and_then(|seen| seen.smoke.as_ref());
    let Some(report) = report.filter(|report| report.rollout == rollout.id) else {
        return Vec::new();
    };
    if rollout.smoke.is_some() {
        return Vec::new();
    }
    let placement = look.placement.clone();
    let mut entries = vec![Entry::SmokeFinished {
        placement,
        report: report.clone(),
    }];
    let failed = report.failures().find_map(|result| {
        let why = result.trouble.as_ref()?;
        Some(format!(
            "smoke test {} failed on {}: {why}",
            result.test, result.server
        ))
    });
    entries.extend(failed.map(|cause| revert(look, &cause, None)));
    entries
}

pub(super) fn shifting(look: &Look<'_>, rollout: &Rollout, since_ms: u64) -> Vec<Entry> {
    if rollout.step > 1 && look.place.spec.has_traffic() {
        let judged = judge(look, rollout, &verdict(look, rollout));
        if !judged.is_empty() {
            return judged;
        }
    }
    let late = since_ms + look.place.spec.canary.shift_timeout_ms <= look.now_ms;
    if !late || rollout.hold.is_some() {
        return Vec::new();
    }
    let said = look
        .place
        .spec
        .balancers
        .iter()
        .find_map(|backend| look.balancer(&backend.balancer)?.trouble.clone());
    let text = said.unwrap_or_else(|| "its read-back shows other weights".into());
    vec![held(look, HoldReason::Shift { text })]
}

/// Watches a share where own probes let it pass: the judge may fail it, but need not be convinced.
/// `Yes` once it was well for so long.
pub(super) fn health_gated(
    look: &Look<'_>,
    rollout: &Rollout,
    since_ms: u64,
    soak_ms: u64,
) -> Ready {
    let verdict = verdict(look, rollout);
    let seen = verdict.class != VerdictClass::NoData && rollout.kind.is_judged();
    let judged = match seen {
        true => judge(look, rollout, &verdict),
        false => Vec::new(),
    };
    if !judged.is_empty() {
        return Ready::Not(judged);
    }
    if let Some(hold) = &rollout.hold {
        let over = is_over(look, rollout, hold, &verdict);
        return Ready::Not(over.then(|| resumed(look)).into_iter().collect());
    }
    if let Some(held) = blind(look, since_ms) {
        return Ready::Not(vec![held]);
    }
    let failing = seen && verdict.class == VerdictClass::Fail;
    let soaked = since_ms + soak_ms <= look.now_ms;
    match soaked && !failing && look.out_of_sight().is_none() {
        true => Ready::Yes,
        false => Ready::Not(Vec::new()),
    }
}

pub(super) fn soaking(look: &Look<'_>, rollout: &Rollout, since_ms: u64) -> Vec<Entry> {
    let verdict = verdict(look, rollout);
    let judged = judge(look, rollout, &verdict);
    if !judged.is_empty() {
        return judged;
    }
    if let Some(hold) = &rollout.hold {
        let over = is_over(look, rollout, hold, &verdict);
        return over.then(|| resumed(look)).into_iter().collect();
    }
    if let Some(held) = blind(look, since_ms) {
        return vec![held];
    }
    let Some(step) = current_step(look, rollout) else {
        return Vec::new();
    };
    let soaked_ms = look.now_ms.saturating_sub(since_ms);
    if soaked_ms < step.soak_ms && !is_safe_early(look, &verdict) {
        return Vec::new();
    }
    match verdict.class {
        VerdictClass::Pass if look.out_of_sight().is_some() => Vec::new(),
        VerdictClass::Pass if parts::awaited(look, rollout).is_some() => Vec::new(),
        VerdictClass::Pass => pass(look, rollout, since_ms, step, verdict),
        _ if soaked_ms < max_soak_ms(look, step) => Vec::new(),
        _ => vec![held(look, why_inconclusive(look, &verdict))],
    }
}

/// Whether the rest of a soak would tell nothing new, and the configuration lets it be spared.
fn is_safe_early(look: &Look<'_>, verdict: &Verdict) -> bool {
    let settings = look.place.spec.analysis.comparison;
    settings.is_some_and(|settings| settings.early_safety)
        && verdict.class == VerdictClass::Pass
        && analysis::is_ruled_out(verdict)
}

/// Whether what the engine held a soak for is there again.
pub(super) fn is_over(look: &Look<'_>, rollout: &Rollout, hold: &Hold, verdict: &Verdict) -> bool {
    match &hold.why {
        HoldReason::NoData => verdict.class != VerdictClass::NoData,
        HoldReason::OutOfSight { .. } => look.out_of_sight().is_none(),
        HoldReason::Capacity { .. } => fits_again(look, rollout),
        _ => false,
    }
}

/// Whether what is up now could carry the next step.
fn fits_again(look: &Look<'_>, rollout: &Rollout) -> bool {
    let share = look.place.share(rollout.release);
    let mut steps = rollout.steps(&look.place.spec).into_iter();
    let next = steps.find(|step| step.weight_percent > share);
    next.is_none_or(|step| capacity::overload(look, rollout, step.weight_percent).is_none())
}

pub(super) fn resumed(look: &Look<'_>) -> Entry {
    Entry::Resumed {
        placement: look.placement.clone(),
    }
}

/// Holds once something that the next step depends on was out of sight for as many intervals as a
/// rollout goes without data.
pub(super) fn blind(look: &Look<'_>, since_ms: u64) -> Option<Entry> {
    let text = look.out_of_sight()?;
    let settings = &look.place.spec.analysis;
    let patience_ms = settings.interval_ms * u64::from(settings.no_data_intervals);
    let last_ms = look.last_in_sight_ms().unwrap_or(0).max(since_ms);
    let is_due = last_ms + patience_ms <= look.now_ms;
    is_due.then(|| held(look, HoldReason::OutOfSight { text }))
}

fn why_inconclusive(look: &Look<'_>, verdict: &Verdict) -> HoldReason {
    // A comparison is of the whole rollout, not of this step.
    let mut rows = verdict.findings.iter();
    let row = rows.find(|row| !row.rule.ends_with("_compared"));
    let seen = row.map_or(0, |finding| finding.samples);
    match seen < look.place.spec.canary.min_requests {
        true => HoldReason::TooFewRequests,
        false => HoldReason::Inconclusive,
    }
}

fn max_soak_ms(look: &Look<'_>, step: Step) -> u64 {
    step.soak_ms
        .saturating_mul(u64::from(look.place.spec.canary.max_soak_factor))
}

fn pass(
    look: &Look<'_>,
    rollout: &Rollout,
    since_ms: u64,
    step: Step,
    verdict: Verdict,
) -> Vec<Entry> {
    let pauses = step.pause && !has_passed(rollout, since_ms);
    let passed = passed(look, rollout, verdict);
    if rollout.kind == RolloutKind::Drill {
        return vec![passed, revert(look, DRILL_OVER, None)];
    }
    if step.weight_percent >= 100 {
        return [vec![passed], finished(look, rollout)].concat();
    }
    if pauses {
        return vec![passed, held(look, HoldReason::PauseStep)];
    }
    let steps = rollout.steps(&look.place.spec);
    let share = look.place.share(rollout.release);
    let next = steps.iter().position(|next| next.weight_percent > share);
    let raise = next.map(|next| {
        let reason = WeightReason::Step { step: next + 1 };
        raise(look, rollout, steps[next].weight_percent, reason)
    });
    [Some(passed), raise].into_iter().flatten().collect()
}

pub(super) fn passed(look: &Look<'_>, rollout: &Rollout, verdict: Verdict) -> Entry {
    Entry::StepPassed {
        placement: look.placement.clone(),
        step: rollout.step,
        verdict,
    }
}

/// Whether the present step has passed already in the soak that began then: it paused there.
pub(super) fn has_passed(rollout: &Rollout, since_ms: u64) -> bool {
    let mut passed = rollout.passed.iter();
    passed.any(|(step, at_ms)| *step == rollout.step && *at_ms >= since_ms)
}

/// The step whose soak applies now: the last one whose share is not above the present one.
pub(crate) fn current_step(look: &Look<'_>, rollout: &Rollout) -> Option<Step> {
    let share = look.place.share(rollout.release);
    let steps = rollout.steps(&look.place.spec);
    let at_or_below = steps.iter().rev().find(|step| step.weight_percent <= share);
    let mut step = *at_or_below.or(steps.first())?;
    step.weight_percent = share;
    Some(step)
}

/// The judge's word now, with how many judgements in a row failed.
pub fn verdict(look: &Look<'_>, rollout: &Rollout) -> Verdict {
    let settings = &look.place.spec.analysis;
    let now = at(look, rollout, look.now_ms);
    let failures = analysis::failures(now.class, settings, look.now_ms, |then_ms| {
        at(look, rollout, then_ms).class
    });
    Verdict { failures, ..now }
}

/// The judgement as it was or would have been at a time.
fn at(look: &Look<'_>, rollout: &Rollout, then_ms: u64) -> Verdict {
    let from_ms = rollout.phase.since_ms();
    let evidence = look.evidence_until(rollout.release, rollout.from, from_ms, then_ms);
    analysis::judge(
        &evidence,
        &look.place.spec.analysis,
        look.place.spec.canary.min_requests,
    )
}

/// Records a changed word, takes a failing release back, holds for want of data.
pub(super) fn judge(look: &Look<'_>, rollout: &Rollout, verdict: &Verdict) -> Vec<Entry> {
    let settings = &look.place.spec.analysis;
    let before = rollout.verdict.as_ref();
    if analysis::takes_back(verdict, before, settings) {
        let cause = verdict.because.as_str().to_owned();
        return vec![revert(look, &cause, Some(verdict.clone()))];
    }
    if analysis::is_news(verdict, before) {
        let placement = look.placement.clone();
        let verdict = verdict.clone();
        return vec![Entry::VerdictChanged { placement, verdict }];
    }
    if verdict.class == VerdictClass::NoData {
        return without_data(look, rollout);
    }
    Vec::new()
}

/// No data is never a pass: first held, in the end taken back. A person's hold never aborts by
/// time.
fn without_data(look: &Look<'_>, rollout: &Rollout) -> Vec<Entry> {
    let settings = &look.place.spec.analysis;
    let last_ms = sources::newest_data_ms(look, rollout.release).unwrap_or(0);
    let blind_ms = look
        .now_ms
        .saturating_sub(last_ms.max(rollout.phase.since_ms()));
    let by_person = rollout
        .hold
        .as_ref()
        .is_some_and(|hold| matches!(hold.why, HoldReason::Person { .. }));
    if blind_ms >= settings.no_data_abort_ms && !by_person {
        let cause = format!("no data for {} s", blind_ms / 1_000);
        return vec![revert(look, &cause, None)];
    }
    let patience_ms = settings.interval_ms * u64::from(settings.no_data_intervals);
    match blind_ms >= patience_ms && rollout.hold.is_none() {
        true => vec![held(look, HoldReason::NoData)],
        false => Vec::new(),
    }
}

pub(super) fn revert(look: &Look<'_>, cause: &str, verdict: Option<Verdict>) -> Entry {
    let (placement, cause) = (look.placement.clone(), Clean::new(cause));
    Entry::RevertDecided {
        placement,
        cause,
        verdict,
    }
}

pub(super) fn held(look: &Look<'_>, why: HoldReason) -> Entry {
    Entry::Held {
        placement: look.placement.clone(),
        why,
    }
}

pub(super) fn weight(
    look: &Look<'_>,
    rollout: &Rollout,
    percent: u8,
    reason: WeightReason,
) -> Entry {
    let placement = look.placement.clone();
    Entry::WeightIntended {
        placement,
        shares: command::split(rollout, percent),
        reason,
    }
}

/// The rollout is done, and its parts with it: the release has all traffic and is verified.
pub(super) fn finished(look: &Look<'_>, rollout: &Rollout) -> Vec<Entry> {
    let mut entries = vec![done(look, rollout)];
    entries.extend(parts::finished(look, rollout));
    entries
}

fn done(look: &Look<'_>, rollout: &Rollout) -> Entry {
    let release = look.place.releases.get(&rollout.release);
    let version = release.map_or_else(String::new, |release| release.version.to_string());
    let outage_ms = rollout.outage.and_then(|outage| {
        let until_ms = outage.until_ms?;
        Some(until_ms.saturating_sub(outage.since_ms))
    });
    let because = match outage_ms {
        Some(ms) => format!(
            "{version} has all traffic, after {}.{} s without service",
            ms / 1_000,
            ms % 1_000 / 100
        ),
        None => format!("{version} has all traffic"),
    };
    Entry::RolloutFinished {
        placement: look.placement.clone(),
        status: Status::Succeeded,
        because: Clean::new(&because),
    }
}

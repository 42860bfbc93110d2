//! The rolling strategy: instances are replaced a batch at a time. A restart is one whose new
//! instances are of the release that stands already.

use super::look::{Health, Look};
use super::steps::{self, Ready};
use super::{instance, parts, retire, slots};
use crate::model::command::{PromoteTo, Refusal};
use crate::model::entry::WeightReason;
use crate::model::service::Server;
use crate::model::state::{HoldReason, Instance, InstanceStatus};
use crate::model::strategy::{Rolling, Strategy};
use crate::model::{Clean, Entry, Phase, Rollout, RolloutKind, ServerName, Status};

pub(super) fn progress(look: &Look<'_>, rollout: &Rollout) -> Vec<Entry> {
    if let Some(reverted) = instance::revert_failed(look, rollout) {
        return vec![reverted];
    }
    let batch = Batch::of(look, rollout);
    match rollout.phase {
        Phase::Starting { since_ms } => batch.replace(since_ms),
        Phase::Shifting { since_ms } => steps::shifting(look, rollout, since_ms),
        Phase::Soaking { since_ms } => batch.watch(since_ms),
        Phase::Reverting { .. } => Vec::new(),
    }
}

/// How a service is restarted: as it rolls, else one by one beside the old ones where there is
/// room, and in place where there is none.
pub fn settings(look: &Look<'_>) -> Rolling {
    let spec = &look.place.spec;
    if let Strategy::Rolling(settings) = &spec.strategy {
        return *settings;
    }
    let alone = matches!(spec.strategy, Strategy::Recreate(_));
    let room = !alone && has_room(look);
    let health = look.place.stable().map(|id| look.place.health_of(id));
    let start_ms = health.unwrap_or(&spec.health).start_timeout_ms;
    Rolling {
        batch: 1,
        max_unavailable: u32::from(!room),
        max_surge: u32::from(room),
        min_healthy_ms: 0,
        first_watch_ms: None,
        pause_after_first: false,
        progress_deadline_ms: start_ms + spec.canary.drain_timeout_ms,
    }
}

/// Whether the stable release may use more servers than it needs, those of warm ones among them.
fn has_room(look: &Look<'_>) -> bool {
    let place = look.place;
    let Some(stable) = place.stable() else {
        return false;
    };
    let slots = place.spec.strategy.slots();
    let slot = slots.and_then(|slots| slots::of(look, slots, stable));
    let usable = |server: &&Server| {
        let there = place.instances.get(&server.name).map(|there| there.release);
        let taken = there.is_some_and(|id| id != stable && !place.warm.contains_key(&id));
        let other_slot = slots.and_then(|slots| slots.of(&server.name)) != slot;
        !taken && !other_slot
    };
    let usable = place.spec.servers.iter().filter(usable);
    usable.count() > place.spec.instances as usize
}

/// How far a rollout is that replaces instances a batch at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batches {
    /// The batch that is being replaced or was last, from 1.
    pub number: usize,
    /// Batches until every instance is replaced.
    pub of: usize,
    /// New instances that are up.
    pub replaced: usize,
    /// Instances of the service.
    pub all: usize,
    /// Servers of new instances that are on their way up.
    pub starting: Vec<ServerName>,
    /// Servers of old instances that are on their way out.
    pub leaving: Vec<ServerName>,
}

/// How far a rollout is with its batches; `None` where it has none.
pub fn batches(look: &Look<'_>, rollout: &Rollout) -> Option<Batches> {
    if rollout.kind != RolloutKind::Restart && !rollout.is_by_batches(&look.place.spec) {
        return None;
    }
    let batch = Batch::of(look, rollout);
    let begun = matches!(rollout.phase, Phase::Starting { .. });
    let of = batch.settings.batches(look.place.spec.instances);
    let named = |instances: &[(&ServerName, &Instance)], is_it: &dyn Fn(&Instance) -> bool| {
        let those = instances.iter().filter(|(_, instance)| is_it(instance));
        those.map(|(server, _)| (*server).clone()).collect()
    };
    let up = |(_, one): &&(&ServerName, &Instance)| one.status == InstanceStatus::Up;
    Some(Batches {
        number: (rollout.step + usize::from(begun)).clamp(1, of.max(1)),
        of,
        replaced: batch.new.iter().filter(up).count(),
        all: batch.all,
        starting: named(&batch.new, &|one| one.status == InstanceStatus::Starting),
        leaving: named(&batch.old, &Instance::is_leaving),
    })
}

/// Ends the watch of the present batch.
///
/// # Errors
/// A share was asked for: instances are replaced batch by batch. A part is not where it must be.
pub(super) fn promote(
    look: &Look<'_>,
    rollout: &Rollout,
    to: PromoteTo,
) -> Result<Vec<Entry>, Refusal> {
    match to {
        PromoteTo::Next => {
            let batch = Batch::of(look, rollout);
            match parts::awaited(look, rollout).filter(|_| batch.is_last()) {
                None => Ok(batch.go_on()),
                Some(part) => Err(parts::not_together(&part)),
            }
        }
        PromoteTo::Percent(_) | PromoteTo::Full => Err(Refusal::Impossible {
            why: "instances are replaced batch by batch; promote goes to the next batch".into(),
        }),
    }
}

/// The batch that is being replaced, or was last.
struct Batch<'a> {
    look: &'a Look<'a>,
    rollout: &'a Rollout,
    settings: Rolling,
    /// Instances of the service.
    all: usize,
    /// New instances once this batch is replaced.
    after: usize,
    new: Vec<(&'a ServerName, &'a Instance)>,
    old: Vec<(&'a ServerName, &'a Instance)>,
}

impl<'a> Batch<'a> {
    fn of(look: &'a Look<'a>, rollout: &'a Rollout) -> Self {
        let settings = settings(look);
        let instances = look.place.spec.instances;
        let begun = matches!(rollout.phase, Phase::Starting { .. });
        let number = rollout.step + usize::from(begun);
        let is_new = |instance: &Instance| {
            let begun_here = instance.rollout == Some(rollout.number);
            instance.release == rollout.release
                && (rollout.kind != RolloutKind::Restart || begun_here)
        };
        let (new, others): (Vec<_>, Vec<_>) = look
            .place
            .instances
            .iter()
            .partition(|(_, instance)| is_new(instance));
        let old = others
            .into_iter()
            .filter(|(_, instance)| Some(instance.release) == rollout.from)
            .collect();
        Self {
            look,
            rollout,
            settings,
            all: instances as usize,
            after: settings.replaced(number, instances) as usize,
            new,
            old,
        }
    }

    fn is_restart(&self) -> bool {
        self.rollout.kind == RolloutKind::Restart
    }

    fn is_last(&self) -> bool {
        self.after >= self.all
    }

    /// Starts what is missing, beside the old ones as far as the surge goes, in their place as far
    /// as some may be missing.
    fn replace(&self, since_ms: u64) -> Vec<Entry> {
        let (look, rollout) = (self.look, self.rollout);
        if let Some(waits) = self.wait_for_lead(since_ms) {
            return waits;
        }
        if since_ms + self.settings.progress_deadline_ms <= look.now_ms {
            return instance::give_up(look, rollout, self.settings.progress_deadline_ms);
        }
        if rollout.hold.is_some() || look.out_of_sight().is_some() {
            return Vec::new();
        }
        let missing = self.after.saturating_sub(coming(&self.new));
        let starts = self.starts(missing);
        let begun = starts.iter().filter(|one| is_start(one)).count();
        let takes = missing.saturating_sub(begun + self.leaving());
        let entries: Vec<_> = starts.into_iter().chain(self.take_out(takes)).collect();
        if !entries.is_empty() || missing > 0 || !self.is_well() {
            return entries;
        }
        match (self.is_restart(), rollout.step) {
            (true, _) => self.take_out_surplus_or_go_on(),
            (_, 0) => match steps::verified(look, rollout) {
                Ready::Yes => vec![self.weight()],
                Ready::Not(entries) => entries,
            },
            _ => vec![self.weight()],
        }
    }

    /// The first batch of a part begins once its lead is at a share. The time until then is not
    /// held against it: its deadline begins anew.
    fn wait_for_lead(&self, since_ms: u64) -> Option<Vec<Entry>> {
        let (look, rollout) = (self.look, self.rollout);
        if rollout.step > 0 || !self.new.is_empty() || self.leaving() > 0 {
            return None;
        }
        if !parts::may_begin(look, rollout, 1) {
            return Some(Vec::new());
        }
        let waited = parts::may_begin_since_ms(look, rollout).is_some_and(|at_ms| at_ms > since_ms);
        waited.then(|| {
            vec![Entry::BatchBegun {
                placement: look.placement.clone(),
                step: 0,
            }]
        })
    }

    /// Whether what comes next is for the lead to begin: a batch beyond its share, or the end.
    fn waits_for_lead(&self) -> bool {
        let (look, rollout) = (self.look, self.rollout);
        match self.is_last() {
            true => parts::ends_with_its_lead(look, rollout),
            false => !parts::may_begin(look, rollout, rollout.step + 1),
        }
    }

    fn starts(&self, missing: usize) -> Vec<Entry> {
        // What may run only once waits for whatever else stands, of any release.
        let alone = matches!(self.look.place.spec.strategy, Strategy::Recreate(_));
        let there = match alone {
            true => self.look.place.instances.len(),
            false => self.new.len() + self.old.len(),
        };
        let room = (self.all + self.settings.max_surge as usize).saturating_sub(there);
        let wanted = missing.min(room);
        let mut entries = instance::intend(self.look, self.rollout.release, wanted);
        if entries.len() < wanted {
            entries.extend(instance::make_room(self.look));
        }
        entries
    }

    /// Old instances on their way out: each makes room for one new.
    fn leaving(&self) -> usize {
        let leaving = self.old.iter().filter(|(_, one)| one.is_leaving());
        leaving.count()
    }

    /// Takes old instances out of traffic, at most so many, and only while enough serve.
    fn take_out(&self, wanted: usize) -> Vec<Entry> {
        let serving = |(server, _): &&(&ServerName, &Instance)| self.look.serves(server);
        let serve = self.new.iter().chain(&self.old).filter(serving).count();
        let least = self
            .all
            .saturating_sub(self.settings.max_unavailable as usize);
        // One that is known to serve nobody goes first. Silence is no such knowledge: an engine that
        // began anew takes none for idle.
        let has_traffic = self.look.place.spec.has_traffic();
        let idle = |(server, instance): &&(&ServerName, &Instance)| {
            instance.status != InstanceStatus::Up
                || matches!(self.look.health(server), Health::Bad(_))
                || has_traffic
                    && self.look.is_out_of_traffic(server)
                    && !self.look.is_about_to_serve(server)
        };
        let mut old: Vec<_> = self.old.iter().filter(|(_, i)| !i.is_leaving()).collect();
        old.sort_by_key(|one| !idle(one));
        let may = old.iter().filter(|one| idle(one)).count() + serve.saturating_sub(least);
        // Where some must stay, one does that nobody drained by hand, however it is just now.
        let stays = |server: &ServerName| {
            let mut all = self.new.iter().chain(&self.old);
            let out = &self.look.place.out;
            all.any(|(other, one)| *other != server && one.is_standing() && !out.contains(*other))
        };
        old.into_iter()
            .filter(|(server, _)| least == 0 || stays(server))
            .take(wanted.min(may))
            .map(|(server, _)| retire::drain(self.look, server))
            .collect()
    }

    /// Whether every new instance so far is up and our newest probe passed.
    fn is_well(&self) -> bool {
        let well = self
            .new
            .iter()
            .filter(|(server, _)| self.look.is_well(server));
        well.count() >= self.after
    }

    /// Old instances beyond those that are still to be replaced; they go once the new ones have
    /// their traffic. Those of the last batch stay until the rollout is done.
    fn surplus(&self) -> usize {
        let keep = self.all - self.after.min(self.all);
        let stays = self.is_last() && !self.is_restart();
        match stays {
            true => 0,
            false => coming(&self.old).saturating_sub(keep),
        }
    }

    fn has_traffic(&self) -> bool {
        let mut new = self.new.iter();
        let out = &self.look.place.out;
        new.all(|(server, _)| out.contains(*server) || self.look.gets_traffic(server))
    }

    /// Whether every new instance has been up for as long as a batch must be.
    fn is_proven(&self) -> bool {
        let up_for_ms = |one: &Instance| self.look.now_ms.saturating_sub(one.since_ms);
        let mut new = self.new.iter();
        new.all(|(_, one)| up_for_ms(one) >= self.settings.min_healthy_ms)
    }

    fn take_out_surplus_or_go_on(&self) -> Vec<Entry> {
        if !self.has_traffic() || !self.is_proven() {
            return Vec::new();
        }
        match (self.surplus(), self.leaving()) {
            (0, 0) => self.go_on(),
            (surplus, _) => self.take_out(surplus),
        }
    }

    fn weight(&self) -> Entry {
        let step = self.rollout.step + 1;
        let steps = self.rollout.steps(&self.look.place.spec);
        let percent = steps.get(step - 1).map_or(100, |step| step.weight_percent);
        steps::weight(
            self.look,
            self.rollout,
            percent,
            WeightReason::Step { step },
        )
    }

    /// Watches the batch in traffic, then goes on.
    fn watch(&self, since_ms: u64) -> Vec<Entry> {
        let (look, rollout) = (self.look, self.rollout);
        let steps = rollout.steps(&look.place.spec);
        let step = steps.get(rollout.step.saturating_sub(1));
        let judged = rollout.kind.is_judged();
        let soak_ms = step.filter(|_| judged).map_or(0, |step| step.soak_ms);
        let ready = steps::health_gated(look, rollout, since_ms, soak_ms);
        if let Ready::Not(entries) = &ready
            && !entries.is_empty()
        {
            return entries.clone();
        }
        if !self.has_traffic() || !self.is_well() || rollout.hold.is_some() {
            return Vec::new();
        }
        let surplus = self.take_out(self.surplus());
        let awaited = parts::awaited(look, rollout).is_some();
        if !surplus.is_empty() || matches!(ready, Ready::Not(_)) || awaited {
            return surplus;
        }
        let pauses = judged && !self.is_last() && step.is_some_and(|step| step.pause);
        let passed = steps::passed(look, rollout, steps::verdict(look, rollout));
        if pauses && !steps::has_passed(rollout, since_ms) {
            return vec![passed, steps::held(look, HoldReason::PauseStep)];
        }
        let told = rollout.led_by.is_some() && steps::has_passed(rollout, since_ms);
        let passed = (judged && !told).then_some(passed).into_iter();
        match self.waits_for_lead() {
            true => passed.collect(),
            false => passed.chain(self.go_on()).collect(),
        }
    }

    /// The next batch, or the end.
    fn go_on(&self) -> Vec<Entry> {
        if !self.is_last() {
            let begun = matches!(self.rollout.phase, Phase::Starting { .. });
            return vec![Entry::BatchBegun {
                placement: self.look.placement.clone(),
                step: self.rollout.step + usize::from(begun),
            }];
        }
        match self.is_restart() {
            true => vec![Entry::RolloutFinished {
                placement: self.look.placement.clone(),
                status: Status::Succeeded,
                because: Clean::new("every instance was begun anew"),
            }],
            false => steps::finished(self.look, self.rollout),
        }
    }
}

/// Instances that are up or on their way to it.
fn coming(instances: &[(&ServerName, &Instance)]) -> usize {
    instances
        .iter()
        .filter(|(_, one)| one.is_standing())
        .count()
}

fn is_start(entry: &Entry) -> bool {
    matches!(entry, Entry::InstanceIntended { .. })
}

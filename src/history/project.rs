//! From records to deployment rows. Pure: the live history and `verify` fold the same way, one
//! into the tables, the other into memory.
//!
//! Must not know SQL, and only ever follows records: nothing here decides.

use crate::model::entry::{DeploymentRow, Shares};
use crate::model::verdict::Verdict;
use crate::model::{
    Clean, Entry, Placement, Record, Release, ReleaseId, RolloutId, RolloutKind, RolloutNumber,
    Seq, ServiceSpec, Status,
};
use std::collections::BTreeMap;

/// One deployment with everything the tables hold of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// What lists show.
    pub(super) shown: DeploymentRow,
    pub(super) kind: RolloutKind,
    pub(super) release: ReleaseId,
    pub(super) from: Option<ReleaseId>,
    pub(super) reason: Option<Clean>,
    pub(super) target_percent: u8,
    pub(super) current_percent: u8,
    pub(super) error_ratio: f64,
    pub(super) latency_p99_ms: u32,
    /// The newest weight intent that is not settled.
    pub(super) intent: Option<Seq>,
    pub(super) started_seq: Seq,
    pub(super) finished_seq: Option<Seq>,
}

impl Row {
    /// The first column in which two rows differ.
    pub(super) fn difference(&self, other: &Self) -> Option<&'static str> {
        let (a, b) = (&self.shown, &other.shown);
        let columns = [
            ("version", a.version == b.version),
            ("environment", a.environment == b.environment),
            ("deployment_status", a.status == b.status),
            ("started_at", a.started_at == b.started_at),
            ("completed_at", a.completed_at == b.completed_at),
            ("duration_ms", a.duration_ms == b.duration_ms),
            ("rolled_back", a.rolled_back == b.rolled_back),
            (
                "target_traffic_percent",
                self.target_percent == other.target_percent,
            ),
            (
                "current_traffic_percent",
                self.current_percent == other.current_percent,
            ),
            ("error_rate", self.error_ratio == other.error_ratio),
            ("latency_p99", self.latency_p99_ms == other.latency_p99_ms),
            ("number", a.number == b.number),
            ("service", a.service == b.service),
            ("actor", a.actor == b.actor),
        ];
        columns
            .iter()
            .find(|(_, same)| !same)
            .map(|(name, _)| *name)
            .or((self != other).then_some("deployment_details"))
    }
}

/// What a record changes in the tables.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// This row is now so.
    Put(Box<Row>),
    /// The newest deployment of `release` numbered below `before` lost its traffic to a rollback.
    Superseded {
        release: ReleaseId,
        before: RolloutNumber,
    },
}

/// The open rollouts, by placement: all a record can still change.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Open(BTreeMap<Placement, Row>);

impl Open {
    /// The open rows among those stored; of two at one placement the newer counts.
    pub(super) fn of(rows: impl IntoIterator<Item = Row>) -> Self {
        let mut open = Self::default();
        for row in rows {
            let name = format!("{}@{}", row.shown.service, row.shown.environment);
            let Ok(placement) = name.parse::<Placement>() else {
                continue;
            };
            let newer = open
                .0
                .get(&placement)
                .is_none_or(|other| other.shown.number < row.shown.number);
            if newer {
                open.0.insert(placement, row);
            }
        }
        open
    }

    /// Folds one record.
    pub(super) fn fold(&mut self, record: &Record) -> Vec<Change> {
        match &record.entry {
            Entry::RolloutStarted {
                id,
                number,
                rollout,
                release,
                from,
                spec,
                reason,
                request_id: _,
                led_by: _,
                urgency: _,
            } => {
                let row = Row {
                    shown: started(record, (*id, *number), release, spec),
                    kind: *rollout,
                    release: release.id,
                    from: *from,
                    reason: reason.clone(),
                    target_percent: first_percent(*rollout, *from, spec),
                    current_percent: 0,
                    error_ratio: 0.0,
                    latency_p99_ms: 0,
                    intent: None,
                    started_seq: record.seq,
                    finished_seq: None,
                };
                self.0.insert(spec.placement.clone(), row.clone());
                vec![Change::Put(Box::new(row))]
            }
            Entry::WeightIntended {
                placement, shares, ..
            } => self.change(placement, |row| {
                row.target_percent = share(shares, row.release);
                row.intent = Some(record.seq);
            }),
            Entry::WeightSettled { placement, id, .. } => self.change(placement, |row| {
                if row.intent == Some(*id) {
                    row.current_percent = row.target_percent;
                    row.intent = None;
                }
            }),
            Entry::WeightAbandoned {
                placement,
                id,
                shares,
            } => self.change(placement, |row| {
                if row.intent == Some(*id) {
                    row.target_percent = share(shares, row.release);
                    row.current_percent = row.target_percent;
                    row.intent = None;
                }
            }),
            Entry::VerdictChanged { placement, verdict }
            | Entry::StepPassed {
                placement, verdict, ..
            } => self.change(placement, |row| judged(row, verdict)),
            Entry::RolloutFinished {
                placement,
                status,
                because,
            } => self.finish(record, placement, *status, because),
            _ => Vec::new(),
        }
    }

    fn change(&mut self, placement: &Placement, change: impl FnOnce(&mut Row)) -> Vec<Change> {
        let Some(row) = self.0.get_mut(placement) else {
            return Vec::new();
        };
        let before = row.clone();
        change(row);
        if *row == before {
            return Vec::new();
        }
        vec![Change::Put(Box::new(row.clone()))]
    }

    fn finish(
        &mut self,
        record: &Record,
        placement: &Placement,
        status: Status,
        because: &Clean,
    ) -> Vec<Change> {
        let Some(mut row) = self.0.remove(placement) else {
            return Vec::new();
        };
        row.shown.status = status;
        row.shown.completed_at = Some(record.at_ms);
        row.shown.duration_ms = Some(record.at_ms.saturating_sub(row.shown.started_at));
        row.shown.rolled_back = status == Status::RolledBack;
        row.shown.because = Some(because.clone());
        row.finished_seq = Some(record.seq);
        let superseded = match (row.kind, status, row.from) {
            (RolloutKind::Rollback, Status::Succeeded, Some(release)) => Some(Change::Superseded {
                release,
                before: row.shown.number,
            }),
            _ => None,
        };
        let mut changes = vec![Change::Put(Box::new(row))];
        changes.extend(superseded);
        changes
    }
}

/// All rows, as `verify` folds them.
#[derive(Debug, Default)]
pub(super) struct Rows {
    open: Open,
    all: BTreeMap<RolloutId, Row>,
}

impl Rows {
    /// Folds one record.
    pub(super) fn fold(&mut self, record: &Record) {
        for change in self.open.fold(record) {
            match change {
                Change::Put(row) => {
                    self.all.insert(row.shown.id, *row);
                }
                Change::Superseded { release, before } => {
                    let newest = self
                        .all
                        .values_mut()
                        .filter(|row| row.release == release && row.shown.number < before)
                        .max_by_key(|row| row.shown.number);
                    if let Some(row) = newest {
                        row.shown.rolled_back = true;
                    }
                }
            }
        }
    }

    /// The rows folded so far.
    pub(super) fn into_map(self) -> BTreeMap<RolloutId, Row> {
        self.all
    }
}

fn started(
    record: &Record,
    (id, number): (RolloutId, RolloutNumber),
    release: &Release,
    spec: &ServiceSpec,
) -> DeploymentRow {
    DeploymentRow {
        id,
        number,
        service: spec.placement.service.to_string(),
        environment: spec.placement.environment.to_string(),
        version: release.version.clone(),
        status: Status::InProgress,
        actor: record.actor.to_string(),
        started_at: record.at_ms,
        completed_at: None,
        duration_ms: None,
        rolled_back: false,
        because: None,
    }
}

/// The share a rollout goes to first: a rollback, and a first deploy, make one move.
fn first_percent(kind: RolloutKind, from: Option<ReleaseId>, spec: &ServiceSpec) -> u8 {
    let steps = spec.steps();
    let step = match (kind.is_judged(), from) {
        (true, Some(_)) => steps.first(),
        _ => steps.last(),
    };
    step.map_or(100, |step| step.weight_percent.min(100))
}

fn share(shares: &Shares, release: ReleaseId) -> u8 {
    shares.get(&release).copied().unwrap_or(0).min(100)
}

/// Takes over the figures of a verdict that has them.
fn judged(row: &mut Row, verdict: &Verdict) {
    let value = |rule: &str| {
        verdict
            .findings
            .iter()
            .find(|finding| finding.rule == rule)
            .and_then(|finding| finding.canary)
            .filter(|value| value.is_finite())
    };
    if let Some(ratio) = value("error_ratio") {
        row.error_ratio = ratio;
    }
    if let Some(ms) = value("latency_p99") {
        // A cast from f64 saturates, so any figure fits.
        row.latency_p99_ms = ms.round() as u32;
    }
}

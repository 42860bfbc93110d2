//! Reads how a new release takes over from the old one: `strategy`, `[blue_green]`, `[rolling]` and
//! `[recreate]`; and judges what they mean to the service's size. What stands in `[canary]` is read
//! in `strategy`.

use super::accepted::{BLUE_GREEN, RECREATE, ROLLING};
use super::defaults;
use super::durations;
use super::errors::Problems;
use super::reader::{Located, Reader};
use super::service::ServiceText;
use super::slots::{self, SlotsText};
use super::strategy::{DAY, SECOND, SOAK, steps};
use super::tree::{Node, Place};
use crate::model::service::{Server, Step};
use crate::model::strategy::{BlueGreen, Recreate, Rolling, Strategy};

/// Which strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Canary,
    BlueGreen,
    Rolling,
    Recreate,
}

impl Kind {
    /// Every one with the word that configurations use.
    const WORDS: [(&'static str, Self); 4] = [
        ("canary", Self::Canary),
        ("blue-green", Self::BlueGreen),
        ("rolling", Self::Rolling),
        ("recreate", Self::Recreate),
    ];

    /// Its word.
    pub(super) fn word(self) -> &'static str {
        let mut words = Self::WORDS.into_iter();
        let own = words.find(|(_, kind)| *kind == self);
        own.map_or("canary", |(word, _)| word)
    }

    /// Whether a whole second set stands beside the old one.
    pub(super) fn stands_beside(self) -> bool {
        matches!(self, Self::Canary | Self::BlueGreen)
    }
}

/// What only one strategy uses: keys of a service, and keys within them where not all are.
const OWN: [(&str, &[&str], Kind); 5] = [
    ("canary", &["steps", "soak", "instances"], Kind::Canary),
    ("blue_green", &[], Kind::BlueGreen),
    ("slots", &[], Kind::BlueGreen),
    ("rolling", &[], Kind::Rolling),
    ("recreate", &[], Kind::Recreate),
];

/// The tables that hold for all services, and are overridden key by key.
pub(super) const SHARED: [&str; 5] = ["canary", "blue_green", "rolling", "recreate", "analysis"];

/// How a new release takes over, as read.
pub(super) struct TakeoverText {
    pub(super) kind: Located<Kind>,
    pub(super) blue_green: BlueGreenText,
    pub(super) rolling: RollingText,
    pub(super) recreate: Recreate,
    pub(super) slots: Option<SlotsText>,
}

/// Blue-green as read.
pub(super) struct BlueGreenText {
    switch: Vec<Step>,
    /// Absent: as the environment is protected.
    confirm: Option<bool>,
    place: Place,
}

/// Rolling as read.
pub(super) struct RollingText {
    settings: Rolling,
    /// Where the size of a batch is written.
    batch: Option<Place>,
    /// Where the number that may be missing is written.
    max_unavailable: Option<Place>,
}

/// The steps that are judged, and where they are written.
pub(super) struct StepsText<'a> {
    pub(super) steps: &'a [Step],
    /// The table's key.
    pub(super) table: &'static str,
    /// Its key that lists them.
    pub(super) list: &'static str,
    /// Where the table is.
    pub(super) place: &'a Place,
}

/// Reads a service's own choice; what is faulty counts as the default.
pub(super) fn kind(reader: &Reader<'_>) -> Located<Kind> {
    reader.word("strategy", &Kind::WORDS).unwrap_or(Located {
        value: Kind::Canary,
        place: reader.place().of_key("strategy"),
    })
}

/// Reads how traffic is switched between slots.
pub(super) fn blue_green(node: &Node, problems: &Problems<'_>) -> BlueGreenText {
    let reader = Reader::new(node, &BLUE_GREEN, problems);
    let soak_ms = reader.duration_ms("soak", SOAK, defaults::SOAK_MS);
    let confirm = reader.flag("confirm", false);
    BlueGreenText {
        switch: steps(
            &reader,
            "switch",
            &defaults::SWITCH_PERCENT,
            soak_ms,
            problems,
        ),
        confirm: reader.node("confirm").map(|_| confirm),
        place: reader.place().clone(),
    }
}

/// Reads how instances are replaced a batch at a time.
pub(super) fn rolling(node: &Node, problems: &Problems<'_>) -> RollingText {
    let reader = Reader::new(node, &ROLLING, problems);
    let default = defaults::rolling();
    let max_unavailable = reader.integer("max_unavailable", 0..=100);
    let watch = |key, default| reader.duration_ms(key, 0..=7 * DAY, default);
    let first = reader.node("first_watch");
    let settings = Rolling {
        batch: reader.integer_or("batch", 1..=100, default.batch),
        max_unavailable: max_unavailable
            .as_ref()
            .map_or(default.max_unavailable, |found| found.value),
        max_surge: reader.integer_or("surge", 0..=100, default.max_surge),
        min_healthy_ms: watch("min_healthy", default.min_healthy_ms),
        first_watch_ms: first.map(|_| watch("first_watch", default.min_healthy_ms)),
        pause_after_first: reader.flag("pause_after_first", default.pause_after_first),
        progress_deadline_ms: reader.duration_ms(
            "progress_deadline",
            10 * SECOND..=DAY,
            default.progress_deadline_ms,
        ),
    };
    if settings.max_surge == 0 && settings.max_unavailable == 0 {
        let what = "is 0 and so is max_unavailable: no instance could ever be replaced";
        let mend = "set surge or max_unavailable to 1";
        let surge = reader.node("surge").map(|node| node.place.clone());
        let place = surge.unwrap_or_else(|| reader.place().of_key("surge"));
        problems.error(&place, what, mend);
    }
    if let (Some(node), Some(watch_ms)) = (first, settings.first_watch_ms)
        && watch_ms < settings.min_healthy_ms
    {
        let what = format!(
            "{} is shorter than the {} of every other batch",
            durations::text(watch_ms),
            durations::text(settings.min_healthy_ms)
        );
        problems.error(&node.place, what, "raise it, or lower min_healthy");
    }
    RollingText {
        settings,
        batch: reader.node("batch").map(|node| node.place.clone()),
        max_unavailable: max_unavailable.map(|found: Located<u32>| found.place),
    }
}

/// Reads how what may run only once is replaced.
pub(super) fn recreate(node: &Node, problems: &Problems<'_>) -> Recreate {
    let reader = Reader::new(node, &RECREATE, problems);
    let default = defaults::recreate();
    Recreate {
        watch_ms: reader.duration_ms("watch", 0..=7 * DAY, default.watch_ms),
    }
}

impl TakeoverText {
    /// Servers that so many instances need.
    pub(super) fn servers_needed(&self, instances: u32) -> u32 {
        let rolling = &self.rolling.settings;
        match self.kind.value {
            Kind::Canary | Kind::BlueGreen => 2 * instances,
            Kind::Rolling if rolling.max_unavailable == 0 => instances + rolling.max_surge,
            Kind::Rolling => instances + rolling.beside(instances),
            Kind::Recreate => instances,
        }
    }

    /// What to do where there are fewer.
    pub(super) fn servers_mend(&self) -> &'static str {
        match self.kind.value {
            Kind::Canary | Kind::BlueGreen => {
                "name more servers, or lower instances: the old and the new release run side by \
                 side"
            }
            Kind::Rolling if self.rolling.settings.max_unavailable == 0 => {
                "name more servers, or set rolling.max_unavailable = 1: while it is 0, rolling.surge \
                 new instances stand beside the old ones"
            }
            Kind::Rolling | Kind::Recreate => "name more servers, or lower instances",
        }
    }

    /// Whether enough instances stay while some are replaced.
    pub(super) fn keeps_some(&self, instances: u32, problems: &Problems<'_>) {
        let missing = self.rolling.settings.max_unavailable;
        if self.kind.value != Kind::Rolling || missing < instances {
            return;
        }
        if let Some(place) = &self.rolling.max_unavailable {
            let what =
                format!("{missing} of {instances} instances may be missing: none would serve");
            let mend = match instances {
                1 => "set it to 0, or strategy = \"recreate\"".to_owned(),
                _ => format!("lower it to at most {}, or raise instances", instances - 1),
            };
            problems.error(place, what, mend);
        }
    }

    /// Whether a batch can be replaced while enough instances stay.
    pub(super) fn batch_fits(&self, instances: u32, problems: &Problems<'_>) {
        let rolling = &self.rolling.settings;
        let (Kind::Rolling, Some(place)) = (self.kind.value, &self.rolling.batch) else {
            return;
        };
        let at_once = rolling.max_surge.saturating_add(rolling.max_unavailable);
        let (batch, surge) = (rolling.batch, rolling.max_surge);
        if batch > instances {
            let what = format!("{batch} is more than the service's {instances} instances");
            problems.error(place, what, "lower it, or raise the service's instances");
        } else if batch > at_once {
            let what = format!(
                "{batch} instances cannot be replaced together: {surge} may stand beside the old \
                 ones and {} may be missing",
                rolling.max_unavailable
            );
            let mend = format!("lower it to {at_once}, or raise surge or max_unavailable");
            problems.error(place, what, mend);
        }
    }

    /// A strategy that moves shares of requests needs somebody to move them.
    pub(super) fn suits(&self, has_traffic: &Located<bool>, problems: &Problems<'_>) {
        let kind = self.kind.value;
        if !has_traffic.value && kind.stands_beside() {
            let what = format!("is \"none\", but {} moves requests", kind.word());
            let mend = "set strategy = \"rolling\"; first_watch under [rolling] watches the first \
                        batch for longer, as a canary is";
            problems.error(&has_traffic.place, what, mend);
        }
    }

    /// A worker's time to finish must fit into a batch's.
    pub(super) fn leaves_time(&self, signal: &Place, drain_ms: u64, problems: &Problems<'_>) {
        let deadline_ms = self.rolling.settings.progress_deadline_ms;
        if self.kind.value != Kind::Rolling || drain_ms < deadline_ms {
            return;
        }
        let what = format!(
            "gives a worker {} to finish, and a batch has only {}",
            durations::text(drain_ms),
            durations::text(deadline_ms)
        );
        let mend = "raise rolling.progress_deadline, or lower canary.drain_timeout";
        problems.error(signal, what, mend);
    }

    /// The strategy of a service with these servers.
    pub(super) fn strategy(
        &self,
        service: &ServiceText,
        servers: &[Located<Server>],
        instances: u32,
        protected: bool,
        problems: &Problems<'_>,
    ) -> Strategy {
        match self.kind.value {
            Kind::Canary => Strategy::Canary,
            Kind::BlueGreen => Strategy::BlueGreen(BlueGreen {
                slots: slots::settle(service, servers, instances, problems),
                switch: self.blue_green.switch.clone(),
                confirm: self.blue_green.confirm.unwrap_or(protected),
            }),
            Kind::Rolling => Strategy::Rolling(self.rolling.settings),
            Kind::Recreate => Strategy::Recreate(self.recreate),
        }
    }
}

impl ServiceText {
    /// The steps at which the judge must be convinced; `None` where batches are replaced instead.
    pub(super) fn steps(&self) -> Option<StepsText<'_>> {
        match self.takeover.kind.value {
            Kind::Canary => Some(StepsText {
                steps: &self.canary.settings.steps,
                table: "canary",
                list: "steps",
                place: &self.canary.place,
            }),
            Kind::BlueGreen => Some(StepsText {
                steps: &self.takeover.blue_green.switch,
                table: "blue_green",
                list: "switch",
                place: &self.takeover.blue_green.place,
            }),
            Kind::Rolling | Kind::Recreate => None,
        }
    }
}

/// Warns of what is written for a service, or for it in one environment, and used by none of the
/// strategies that it has there.
pub(super) fn unused(written: &Node, kinds: &[Kind], problems: &Problems<'_>) {
    let Some(first) = kinds.first() else {
        return;
    };
    let idle = OWN.iter().filter(|(_, _, kind)| !kinds.contains(kind));
    for (table, keys, owner) in idle {
        let Some(table) = written.get(table) else {
            continue;
        };
        let within = keys.iter().filter_map(|key| table.get(key));
        let whole = keys.is_empty().then_some(table);
        for node in within.chain(whole) {
            let what = format!("is not used: the strategy is {}", first.word());
            let mend = format!("take it out, or set strategy = \"{}\"", owner.word());
            problems.warning(&node.place, what, mend);
        }
    }
}

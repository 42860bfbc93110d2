//! Lines of the plain-text status beside its table: slots, time without service, earlier versions.

use crate::cli::print;
use crate::model::Stock;
use crate::view::snapshot::{OutageView, Ready, ReadyView, SlotView, SlotsView};
use crate::view::words;

/// Which slot is live, and how both stand.
pub(super) fn slots(view: &SlotsView) -> Vec<String> {
    let live = format!("  slots: {}", view.text);
    let each = view.slots.iter().map(slot);
    std::iter::once(live).chain(each).collect()
}

fn slot(view: &SlotView) -> String {
    let Some(release) = &view.release else {
        return format!("    {:<6} empty", view.slot.to_string());
    };
    let share = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), words::percent);
    let brought = view.rollout.map(|number| format!(" by {number}"));
    let warm = view
        .warm_until_ms
        .map(|at_ms| format!(", warm until {}", print::time_of_day(at_ms)));
    let since = view.since_ms.map(|at_ms| {
        let who = view.by.as_ref().map(|by| format!(" by {by}"));
        let who = who.unwrap_or_default();
        format!(", live since {}{who}", print::date_time(at_ms))
    });
    let serves = match view.serves {
        Some(true) => "in traffic",
        Some(false) => "idle",
        None => "not read yet",
    };
    format!(
        "    {:<6} {}{}, {serves}, {}/{} up, wanted {}, applied {}, observed {}{}{}",
        view.slot.to_string(),
        release.version,
        brought.unwrap_or_default(),
        view.up,
        view.needed,
        share(view.wanted_percent),
        share(view.applied_percent),
        share(view.observed_percent),
        since.unwrap_or_default(),
        warm.unwrap_or_default()
    )
}

/// The time without service that a rollout causes, while it lasts and after it.
pub(super) fn outage(view: OutageView, now_ms: u64) -> String {
    let since = print::time_of_day(view.since_ms);
    match view.until_ms {
        None => {
            let so_far = words::clock(now_ms.saturating_sub(view.since_ms));
            format!("  NO SERVICE since {since}, {so_far} so far")
        }
        Some(until_ms) => {
            let took = words::clock(until_ms.saturating_sub(view.since_ms));
            format!("  was without service for {took}, from {since}")
        }
    }
}

/// An earlier version: what of it is there, and why not where it is gone.
pub(super) fn earlier(version: &ReadyView) -> Vec<String> {
    let ready = match (version.ready, version.warm_until_ms) {
        (Ready::Warm, Some(until_ms)) => format!("warm until {}", print::time_of_day(until_ms)),
        (Ready::Warm, None) => "warm".to_owned(),
        (Ready::Here, _) => "here".to_owned(),
        (Ready::Pinned | Ready::Anew, _) => version
            .stock_words()
            .unwrap_or_else(|| "must be started; its hosts were not asked yet".to_owned()),
    };
    let left = match version.withdrawn {
        true => ", rolled back from",
        false => "",
    };
    let first = format!("  earlier: {} {ready}{left}", version.version);
    let why = version.hosts.iter().filter_map(|host| match &host.stock {
        Stock::Gone { why } | Stock::Unknown { why } => {
            Some(format!("    {}: {why}", host.runtime))
        }
        Stock::Here | Stock::Pull { .. } => None,
    });
    std::iter::once(first).chain(why).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::stage::{Stage, server, spec, stable_with};
    use crate::model::strategy::{BlueGreen, Recreate, Slots, Strategy};
    use crate::model::{ServiceSpec, Step};
    use crate::view;
    use crate::view::snapshot::PlacementView;

    fn shown(stage: &Stage) -> PlacementView {
        view::placements(&stage.state, &stage.world, &[]).remove(0)
    }

    fn by(strategy: Strategy) -> ServiceSpec {
        ServiceSpec { strategy, ..spec() }
    }

    #[test]
    fn both_slots_are_told_with_who_is_live() {
        let mut stage = stable_with(by(Strategy::BlueGreen(BlueGreen {
            slots: Slots {
                blue: vec![server(1), server(2)],
                green: vec![server(3), server(4)],
            },
            switch: vec![Step {
                weight_percent: 100,
                soak_ms: 10_000,
                pause: false,
            }],
            confirm: true,
        })));
        let told = |stage: &Stage| slots(&shown(stage).slots.expect("slots")).join("\n");
        let text = told(&stage);
        assert!(
            text.contains("blue   v1 by #1, in traffic, 2/2 up, wanted 100 %"),
            "{text}"
        );
        assert!(text.contains("green  empty"), "{text}");
        stage.deploy("v2");
        stage.until("it is ready", |stage| stage.held().is_some());
        let text = told(&stage);
        assert!(
            text.contains("green  v2 by #2, idle, 2/2 up, wanted 0 %"),
            "{text}"
        );
    }

    #[test]
    fn the_time_without_service_is_told_while_it_lasts_and_after() {
        let mut stage = stable_with(by(Strategy::Recreate(Recreate { watch_ms: 10_000 })));
        stage.deploy("v2");
        stage.until("nothing runs", |stage| stage.running("v1") == 0);
        let told = |stage: &Stage| {
            let open = shown(stage).rollout.expect("it is open");
            outage(open.outage.expect("it is measured"), stage.world.now_ms)
        };
        assert!(
            told(&stage).contains("NO SERVICE since"),
            "{}",
            told(&stage)
        );
        stage.until("the watch", Stage::is_soaking);
        assert!(
            told(&stage).contains("was without service for 00:0"),
            "{}",
            told(&stage)
        );
    }
}

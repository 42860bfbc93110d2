//! Which instances a source of metrics should scrape, and under which labels: those that may have
//! traffic. A label never changes while its instance lives, so that no series breaks off.

use super::snapshot::{InstanceRow, PlacementView, Snapshot};
use crate::model::metrics::TargetGroup;

/// Every instance that is up or draining. One that is still being started would only be found down.
pub fn targets(snapshot: &Snapshot) -> Vec<TargetGroup> {
    let placements = snapshot.placements.iter();
    placements
        .flat_map(|view| {
            let scraped = |row: &&InstanceRow| ["up", "draining"].contains(&row.status.as_str());
            view.instances
                .iter()
                .filter(scraped)
                .map(|row| target(view, row))
        })
        .collect()
}

fn target(view: &PlacementView, row: &InstanceRow) -> TargetGroup {
    let mut labels = vec![
        ("service", view.placement.service.to_string()),
        ("environment", view.placement.environment.to_string()),
        ("version", row.version.to_string()),
        ("release", row.release.to_string()),
        ("instance", row.server.to_string()),
    ];
    labels.extend(
        row.rollout
            .map(|rollout| ("rollout", rollout.0.to_string())),
    );
    TargetGroup {
        targets: vec![row.address.clone()],
        labels: labels
            .into_iter()
            .map(|(label, value)| (label.to_owned(), value))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::stage::{Stage, soaking, stable};
    use crate::model::input::EngineInfo;
    use crate::view::snapshot::EngineView;

    fn told(stage: &Stage) -> Vec<TargetGroup> {
        let engine = EngineView {
            read_only: Vec::new(),
            info: EngineInfo {
                version: String::new(),
                pid: 1,
                host: "test".into(),
                config_hash: String::new(),
            },
            now_ms: 0,
            started_ms: 0,
            seq: 0,
            history_trouble: None,
            newer: false,
            consoles: Vec::new(),
            timeline: Vec::new(),
        };
        let placements = crate::view::placements(&stage.state, &stage.world, &[]);
        targets(&Snapshot {
            engine,
            placements,
            runs: Vec::new(),
        })
    }

    fn by(groups: &[TargetGroup], label: &str) -> std::collections::BTreeSet<String> {
        let values = groups.iter().map(|group| group.labels[label].clone());
        values.collect()
    }

    #[test]
    fn releases_and_rollouts_are_told_apart_and_labels_stay_while_roles_change() {
        let mut stage = soaking();
        let early = told(&stage);
        assert_eq!(early.len(), 4, "two of each");
        assert_eq!(by(&early, "release").len(), 2);
        assert_eq!(
            by(&early, "version"),
            ["v1", "v2"].map(str::to_owned).into()
        );
        assert_eq!(by(&early, "rollout"), ["1", "2"].map(str::to_owned).into());
        assert!(early.iter().all(|group| group.targets.len() == 1));
        stage.until("the end", |stage| !stage.is_open());
        let late = told(&stage);
        for group in late.iter().filter(|group| group.labels["version"] == "v2") {
            assert!(
                early.contains(group),
                "{group:?} changed when it became stable"
            );
        }
    }

    #[test]
    fn what_is_still_being_started_is_not_scraped() {
        let mut stage = stable();
        stage.no_runtime = true;
        stage.deploy("v2");
        stage.pass_ms(500);
        assert_eq!(by(&told(&stage), "version"), ["v1".to_owned()].into());
    }
}

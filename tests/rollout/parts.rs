//! A web service and its workers in one rollout: one deploy, one abort, one way back, and an engine
//! that dies in the middle of it.

use crate::judge::{nothing_was_lost, records};
use crate::process::PROGRAM;
use crate::stage::{BAD, ENVIRONMENT, Front, Pace, SERVICE, Stage, WAITING, free_ports, loopback};
use std::path::Path;
use wheelhouse::model::{Entry, Placement, Status};
use wheelhouse::view::snapshot::{InstanceRow, PlacementView};

const PART: &str = "shop-jobs";
/// What is slow has time to be judged.
const PACE: Pace = Pace {
    soak: "3s",
    ..WAITING
};

/// The service with three workers that move with it.
fn with_jobs(text: String, _: &Path) -> String {
    let first = free_ports();
    let servers: Vec<_> = (1..=4)
        .map(|n| format!("job{n} = \"{}\"", loopback(first + n)))
        .collect();
    let servers = servers.join(", ");
    format!(
        r#"{text}
[service.{PART}]
part_of = "{SERVICE}"
traffic = "none"
strategy = "rolling"
instances = 3
servers = {{ {servers} }}
command = ["{PROGRAM}", "demo-service", "--address", "{{address}}", "--version", "{{version}}"]
stop_grace = "5s"
[service.{PART}.health]
path = "/readyz"
interval = "1s"
timeout = "900ms"
[service.{PART}.rolling]
min_healthy = "1s"
[service.{PART}.analysis]
error_ratio = false
error_ratio_vs_stable = false
[service.{PART}.env.{ENVIRONMENT}]
"#
    )
}

fn part() -> Placement {
    format!("{PART}@{ENVIRONMENT}")
        .parse()
        .expect("a placement")
}

impl Stage {
    async fn jobs(&self) -> PlacementView {
        let said = self.status().await;
        said.placement(&part()).expect("the part").clone()
    }

    /// Workers of a version that are up, and all that stand.
    async fn working(&self, version: &str) -> (usize, usize) {
        let rows = self.jobs().await.instances;
        let up =
            |row: &&InstanceRow| row.version.as_str() == version && row.status.as_str() == "up";
        (rows.iter().filter(up).count(), rows.len())
    }

    async fn works(&self, version: &str, up: usize, all: usize) {
        let what = format!("{up} of {all} workers of {version}");
        crate::haproxy::until(&what, async || self.working(version).await == (up, all)).await;
    }

    /// Waits until the workers are as far as the service is at its first step.
    async fn one_works(&self, version: &str) {
        self.works(version, 1, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_move_with_their_service_forward_back_and_over_a_dead_engine() {
    let stage = Stage::set_as("canary", Front::Embedded, PACE, with_jobs).await;
    let mut stage = stage.expect("it needs nothing in front");
    stage.works("v1", 3, 3).await;
    let load = stage.load();

    // Forward: one of three at a quarter, and all of them once the service has all.
    let number = stage.deploy("v2").await;
    stage.soaks_at(25.0).await;
    stage.one_works("v2").await;
    let view = stage.status().await;
    let open = view
        .placement(&crate::stage::placement())
        .and_then(|it| it.rollout.clone());
    let parts = open.expect("it is open").parts;
    assert_eq!(parts.len(), 1);
    assert_eq!((parts[0].replaced, parts[0].instances), (1, 3));
    let said = stage.run(&["status"]).await;
    assert!(said.out.contains(&format!("part {PART}@")), "{}", said.out);
    stage.engine.kill();
    stage.start_engine().await;
    stage.promote(&["--full"]).await;
    stage.ends(number, Status::Succeeded).await;
    stage.works("v2", 3, 3).await;

    // Back: whoever is named, one abort is for all of them.
    let number = stage.deploy("v4").await;
    stage.one_works("v4").await;
    let said = stage
        .run(&["promote", PART, "-e", ENVIRONMENT, "--confirm", ENVIRONMENT])
        .await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("promote that one"), "{said:?}");
    stage.does(&["abort", PART]).await;
    let because = stage.ends(number, Status::RolledBack).await;
    assert!(because.contains(PART), "{because}");
    stage.works("v2", 3, 3).await;

    // What is bad about the service takes its workers back.
    let number = stage.deploy(BAD).await;
    let because = stage.ends(number, Status::RolledBack).await;
    assert!(because.contains("error rate"), "{because}");
    stage.works("v2", 3, 3).await;

    // And the way back to a verified version takes them along.
    let number = stage.begins(&["rollback", SERVICE]).await;
    stage.ends(number, Status::Succeeded).await;
    stage.works("v1", 3, 3).await;

    nothing_was_lost(&load.stop().await, &[]);
    let said = stage.run(&["history", "verify"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let recorded = records(&stage);
    let of_part = recorded.iter().filter(|record| {
        matches!(&record.entry, Entry::RolloutStarted { spec, led_by: Some(_), .. } if spec.placement == part())
    });
    assert_eq!(of_part.count(), 5, "each of them had its part");
}

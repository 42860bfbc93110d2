//! The way back by hand: what `runbook` prints is run as it is printed, with the engine dead.

use crate::judge::{Expected, judge};
use crate::load::now_ms;
use crate::needs::has;
use crate::stage::{ENVIRONMENT, Front, SERVICE, Stage, WAITING};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use wheelhouse::model::world::Admin;
use wheelhouse::model::{ServerName, Status};
use wheelhouse::view::snapshot::{PlacementView, Role};

/// Runs a script as a person would paste it.
async fn paste(script: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", script]);
    let ended = tokio::task::spawn_blocking(move || shell.output()).await;
    let ended = ended.expect("no panic").expect("a shell");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{said}{ended:?}\n{script}");
    said
}

/// Without the line that says of which record it is: a settled weight changes no command.
fn commands(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.starts_with("# From record"))
        .collect()
}

fn servers(view: &PlacementView, role: Role) -> Vec<ServerName> {
    let rows = view.instances.iter();
    rows.filter(|row| row.role == role)
        .map(|row| row.server.clone())
        .collect()
}

async fn the_printed_way_back(front: Front, tool: &str, at_percent: f64) {
    if !has(tool, "-V") {
        return;
    }
    let Some(mut stage) = Stage::set(front, WAITING).await else {
        return;
    };
    let load = stage.load();
    let number = stage.deploy("v2").await;
    let mut view = stage.soaks_at(25.0).await;
    if at_percent > 25.0 {
        let to = format!("{at_percent}");
        stage.promote(&["--to", &to]).await;
        view = stage.soaks_at(at_percent).await;
    }
    // Before it could end: at 100 % nothing but the soak is left.
    stage.engine.kill();
    load.answers(200).await;

    let printed = stage.run(&["runbook", SERVICE, "-e", ENVIRONMENT]).await;
    assert_eq!(printed.code, 0, "{printed:?}");
    let kept = stage.state_dir().join(format!("runbook-{ENVIRONMENT}.txt"));
    let mode = kept
        .metadata()
        .expect("the engine's copy")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = std::fs::read_to_string(kept).expect("readable");
    assert_eq!(commands(kept.trim_end()), commands(printed.out.trim_end()));
    assert!(
        printed.out.contains(&format!("{at_percent} %")),
        "{printed:?}"
    );

    let from_ms = now_ms();
    let said = paste(&printed.out).await;
    let reading = stage.balancer_reading().await;
    for server in servers(&view, Role::Canary) {
        assert_eq!(reading.servers[&server].admin, Admin::Maintenance, "{said}");
        assert_eq!(reading.servers[&server].effective_weight(), 0, "{said}");
    }
    for server in servers(&view, Role::Stable) {
        assert_eq!(reading.servers[&server].admin, Admin::Ready, "{said}");
        assert_eq!(reading.servers[&server].weight, 100, "{said}");
        assert!(
            said.contains(server.as_str()),
            "{server} is read back: {said}"
        );
    }
    only_stable_answers(&stage, &load).await;
    if let Some(haproxy) = &mut stage.haproxy {
        haproxy.reload().await;
        only_stable_answers(&stage, &load).await;
    }

    // The engine finds it, and what a person says of it is done.
    stage.start_engine().await;
    stage.does(&["abort", SERVICE]).await;
    stage.ends(number, Status::RolledBack).await;
    let expected = Expected {
        serving: "v1",
        silent: &["v2"],
        // By hand stable got more than the records say.
        above_within: vec![(from_ms, now_ms())],
        ..Expected::default()
    };
    judge(&stage, load, &expected).await;
}

/// Asks often enough that any share of the new version would show.
async fn only_stable_answers(stage: &Stage, load: &crate::load::Load) {
    load.answers(100).await;
    let url = format!("http://{}/", stage.listen);
    for _ in 0..100 {
        let answer = reqwest::get(&url).await.expect("an answer");
        assert_eq!(answer.headers()["x-version"], "v1", "at {}", now_ms());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_way_back_works_behind_haproxy() {
    the_printed_way_back(Front::Haproxy, "socat", 25.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_way_back_works_behind_haproxy_with_stable_out_of_traffic() {
    the_printed_way_back(Front::Haproxy, "socat", 100.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_way_back_works_behind_the_proxy() {
    the_printed_way_back(Front::Embedded, "curl", 25.0).await;
}

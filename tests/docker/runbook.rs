//! The way back by hand: the Docker lines of the runbook are run as they are printed, with the
//! engine dead, and the doctor says what a release would need.

use crate::contract::eventually;
use crate::rollouts::{Load, World, ask};
use crate::support::{IMAGE, SOCKET, available, docker, docker_says};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Runs a script as a person would paste it.
fn paste(script: &str) -> String {
    let ended = Command::new("sh").args(["-e", "-c", script]).output();
    let ended = ended.expect("a shell");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{said}{ended:?}\n{script}");
    said
}

async fn begun() -> World {
    let mut world = World::through(Path::new(SOCKET));
    eventually("the engine answers", || async {
        let said = world.says(&["engine", "status"]);
        said.status.success().then_some(())
    })
    .await;
    world.version("v1");
    let first = Load::on(world.listen);
    let (code, text) = world.deploy("v1", &["--wait", "--timeout", "90s"]);
    assert_eq!(code, 0, "{text}\n{}", world.log());
    first.end();
    world
}

fn running(world: &World) -> Vec<String> {
    let running = docker(&["ps", "-q", "--no-trunc"]);
    let all = world.shop.containers().into_iter();
    all.filter(|id| running.contains(id.as_str())).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_docker_lines_bring_stable_back_and_stop_the_others() {
    if !available() {
        return;
    }
    let mut world = begun().await;
    world.version("v2");
    let stable = world.shop.containers();
    let service = world.shop.placement.service.to_string();
    let (code, said) = world.deploy("v2", &[]);
    assert_eq!(code, 0, "{said}");
    // Nobody asks it anything, so the canary stays at its first share.
    eventually("the canary has a share", || async {
        let status = world.says(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).ok()?;
        let share = &status["placements"][0]["traffic"]["applied_percent"];
        (share.as_f64() == Some(50.0)).then_some(())
    })
    .await;
    world.kill_engine();
    docker(&["kill", &stable[0]]);
    // Evidence of the same release, which must not be begun.
    let release = docker(&[
        "inspect",
        "-f",
        "{{index .Config.Labels \"wheelhouse.release\"}}",
        &stable[0],
    ]);
    // Fresh by its name: any engine at this daemon removes what is older than a day.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_s = now.expect("after 1970").as_secs();
    let evidence = format!("wheelhouse-failed-{service}-{now_s}");
    world.shop.removes(&evidence);
    let label = |name: &str, value: &str| format!("wheelhouse.{name}={value}");
    docker(&[
        "create",
        "--name",
        &evidence,
        "--label",
        &label("release", &release),
        "--label",
        &label("service", &service),
        "--label",
        &label("environment", "test"),
        "--label",
        &label("server", "s1"),
        IMAGE,
        "--version",
    ]);
    let printed = world.says(&["runbook", &service, "-e", "test"]);
    assert!(printed.status.success(), "{printed:?}");
    let printed = text(&printed.stdout);
    paste(&printed);
    let by_hand: Vec<_> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .filter(|line| line.starts_with("docker "))
        .collect();
    assert_eq!(by_hand.len(), 3, "look, start, stop: {printed}");
    let listed = paste(by_hand[0]);
    assert!(listed.contains(&evidence), "{listed}");
    for line in &by_hand[1..] {
        paste(line);
    }
    let mut now = running(&world);
    now.sort();
    let mut wanted = stable.clone();
    wanted.sort();
    assert_eq!(now, wanted, "stable runs, and nothing else");
    eventually("stable answers wherever it stands", || async {
        let all: Vec<_> = (0..20).map(|_| ask(world.listen)).collect();
        let good = |said: &std::io::Result<String>| {
            let said = said.as_ref().map(|said| said.to_lowercase());
            said.is_ok_and(|said| said.contains(" 200 ") && said.contains("x-version: v1"))
        };
        all.iter().all(good).then_some(())
    })
    .await;
}

/// The doctor's findings about a release on the daemon: key, state, text.
fn findings(world: &World) -> Vec<(String, String, String)> {
    let said = world.says(&["doctor", "--json"]);
    let all: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let all = all.as_array().expect("a list").iter();
    let text = |finding: &Value, key: &str| finding[key].as_str().expect("a text").to_owned();
    let all = all.map(|it| (text(it, "key"), text(it, "state"), text(it, "text")));
    all.filter(|(key, ..)| key.starts_with("runtime")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_says_what_a_release_of_containers_needs() {
    if !available() {
        return;
    }
    let mut world = begun().await;
    let found = findings(&world);
    let fit = found.iter().find(|(key, ..)| key == "runtime.release");
    let (_, state, said) = fit.unwrap_or_else(|| panic!("{found:?}"));
    assert!(state == "ok" && said.contains("v1"), "{found:?}");
    // What stands was made of an image that is gone now.
    let tag = format!("wheelhouse-test-{}:v1", world.shop.placement.service);
    assert!(docker_says(&["rmi", &tag]).status.success());
    let found = findings(&world);
    let bad = found.iter().find(|(key, ..)| key == "runtime.unfit");
    let (_, state, said) = bad.unwrap_or_else(|| panic!("{found:?}"));
    assert!(state == "bad" && said.contains(&tag), "{found:?}");
    world.version("v1");
    // Without an engine nobody knows which version it would be.
    world.kill_engine();
    let found = findings(&world);
    let note = found.iter().find(|(key, ..)| key == "runtime.note");
    assert!(
        note.is_some_and(|(.., said)| said.contains("--dry-run")),
        "{found:?}"
    );
    assert!(
        found.iter().all(|(_, state, _)| state != "bad"),
        "{found:?}"
    );
}

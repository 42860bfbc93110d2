//! What `doctor` says of a real world: each thing as it is, with the engine and without, and with
//! the balancer dead.

use crate::stage::{Front, Said, Stage, WAITING};
use serde_json::Value;
use std::collections::BTreeMap;

/// States by key; where a key comes several times, the last that is not ok.
fn states(said: &Said) -> BTreeMap<String, String> {
    let all: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    let mut states = BTreeMap::new();
    for finding in all.as_array().expect("a list") {
        let text = |field: &str| finding[field].as_str().expect("a text").to_owned();
        assert!(!text("what").is_empty() && !text("text").is_empty());
        let (key, state) = (text("key"), text("state"));
        if state != "ok" || !states.contains_key(&key) {
            states.insert(key, state);
        }
    }
    states
}

async fn examined(stage: &Stage) -> (i32, BTreeMap<String, String>) {
    let said = stage.run(&["doctor", "--json"]).await;
    (said.code, states(&said))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_at_everything_behind_haproxy_with_and_without_an_engine() {
    let Some(mut stage) = Stage::set(Front::Haproxy, WAITING).await else {
        return;
    };
    let (code, found) = examined(&stage).await;
    assert_eq!(code, 0, "{found:?}");
    for key in [
        "version",
        "configuration",
        "state_directory",
        "history",
        "disk",
        "engine",
        "engine.socket",
        "engine.clock",
        "tls",
        "judge",
        "runtime",
        "memory",
        "instance.clock",
        "balancer",
        "balancer.socket",
        "balancer.level",
        "balancer.algorithm",
        "balancer.servers",
        "balancer.state_file",
        "balancer.stickiness",
    ] {
        assert_eq!(
            found.get(key).map(String::as_str),
            Some("ok"),
            "{key}: {found:?}"
        );
    }

    stage.engine.kill();
    let (code, found) = examined(&stage).await;
    assert_eq!((code, found["engine"].as_str()), (0, "note"), "{found:?}");
    assert_eq!(found["history"], "ok");

    let haproxy = stage.haproxy.as_mut().expect("behind HAProxy");
    haproxy.crash().await;
    let (code, found) = examined(&stage).await;
    assert_eq!(
        (code, found["balancer"].as_str()),
        (69, "unreachable"),
        "{found:?}"
    );
    assert_eq!(found["runtime"], "ok");
    haproxy_again(&mut stage).await;
}

/// For the stage's orderly end.
async fn haproxy_again(stage: &mut Stage) {
    let haproxy = stage.haproxy.as_mut().expect("behind HAProxy");
    haproxy.start_again().await;
}

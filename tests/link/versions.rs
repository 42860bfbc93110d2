//! J35: an engine and a console of neighbouring versions. What the other one adds is passed over;
//! looking and aborting work.

use crate::support::*;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use wheelhouse::link::wire::{CommandRequest, PROTOCOL, Reply, Request, ServerFrame};
use wheelhouse::link::{Client, own_uid, socket_path};
use wheelhouse::model::command::Answer;
use wheelhouse::model::{Actor, Clean, Role};

/// A frame of these bytes.
fn framed(frame: &Value) -> Vec<u8> {
    let json = serde_json::to_vec(frame).expect("JSON");
    let length = u32::try_from(json.len()).expect("short");
    [&length.to_be_bytes()[..], &json].concat()
}

/// A snapshot as the next version might send it, or the one before.
fn neighbouring_snapshot(newer: bool) -> Value {
    let mut snapshot = serde_json::to_value(snapshot(42, 2_000)).expect("JSON");
    let engine = snapshot["engine"].as_object_mut().expect("an object");
    match newer {
        true => {
            engine.insert("added_later".to_owned(), json!({ "of": [1, 2] }));
            engine["info"]["added_later"] = json!("text");
        }
        false => {
            engine.remove("read_only").expect("it was there");
        }
    }
    snapshot
}

/// An engine of another version: it answers a snapshot request and then an abort.
async fn engine_of(listener: UnixListener, version: &str, newer: bool) {
    let (stream, _) = listener.accept().await.expect("a caller");
    let mut raw = Raw(stream);
    assert!(raw.take_frame().await.is_some(), "its hello");
    let you = Actor::Person {
        uid: own_uid(),
        user: "ada".into(),
    };
    let mut hello = json!({
        "frame": "hello", "protocol": PROTOCOL, "version": version, "config_path": "/etc/w.toml",
        "config_hash": HASH, "you": you,
    });
    if newer {
        hello["role"] = json!("viewer");
        hello["added_later"] = json!(true);
    }
    raw.send(&framed(&hello)).await;
    let replies = [
        json!({ "reply": "snapshot", "snapshot": neighbouring_snapshot(newer) }),
        json!({ "reply": "answer", "answer": { "answer": "already", "what": "aborting" } }),
    ];
    for mut reply in replies {
        let asked = raw.take_frame().await.expect("a request");
        let asked: Value = serde_json::from_slice(&asked).expect("JSON");
        reply["added_later"] = json!(newer);
        let frame = json!({ "frame": "reply", "id": asked["id"], "reply": reply });
        raw.send(&framed(&frame)).await;
    }
    assert!(raw.take_frame().await.is_none(), "it hangs up");
}

#[tokio::test]
async fn a_console_looks_at_and_aborts_on_an_engine_a_minor_version_away() {
    for (version, newer) in [("0.2.0", true), ("0.0.9", false)] {
        let dir = private_dir();
        let path = socket_path(dir.path());
        let listener = UnixListener::bind(&path).expect("bound");
        let engine = tokio::spawn(engine_of(listener, version, newer));
        let connected = Client::connect(&path, &caller(false)).await;
        let (client, hello) = connected.expect("connected");
        // An engine that says nothing of roles lets in only its own user.
        let role = if newer { Role::Viewer } else { Role::Operator };
        assert_eq!(hello.role, role);
        let skew: Clean = hello.skew("0.1.0").expect("told");
        assert!(skew.as_str().contains(version), "{skew}");
        assert_eq!(hello.skew(&format!("{version}-rc1")), None);
        let seen = client.ask(Request::Snapshot, PATIENCE).await;
        let Ok(Reply::Snapshot { snapshot }) = seen else {
            panic!("{seen:?}");
        };
        assert_eq!(snapshot.engine.now_ms, 42);
        let reply = client.ask(abort(), PATIENCE).await.expect("answered");
        let answered = matches!(
            &reply,
            Reply::Answer {
                answer: Answer::Already { .. }
            }
        );
        assert!(answered, "{reply:?}");
        drop(client);
        soon("the engine ends", engine).await.expect("no panic");
    }
}

#[tokio::test]
async fn an_engine_serves_a_console_a_minor_version_away_and_says_what_it_does_not_know() {
    let engine = Engine::start().await;
    let mut raw = Raw::to(&engine).await;
    let hello = json!({
        "frame": "hello", "protocol": PROTOCOL, "version": "0.2.0", "config_hash": null,
        "console": true, "added_later": [1],
    });
    raw.send(&framed(&hello)).await;
    assert!(matches!(raw.hear().await, Some(ServerFrame::Hello { .. })));
    let unknown = json!({
        "frame": "request", "id": 1,
        "request": { "request": "approve", "rollout": 7, "because": { "of": "this" } },
    });
    raw.send(&framed(&unknown)).await;
    let heard = raw.hear().await;
    let Some(ServerFrame::Reply {
        id: 1,
        reply: Reply::Error { text },
    }) = heard
    else {
        panic!("{heard:?}");
    };
    assert!(
        text.as_str().contains("does not know that request"),
        "{text}"
    );
    // The connection goes on.
    let snapshot = json!({ "frame": "request", "id": 2, "request": { "request": "snapshot" } });
    raw.send(&framed(&snapshot)).await;
    let heard = raw.hear().await;
    let seen = matches!(
        &heard,
        Some(ServerFrame::Reply {
            id: 2,
            reply: Reply::Snapshot { .. }
        })
    );
    assert!(seen, "{heard:?}");
    raw.say(&request(3, abort())).await;
    let heard = raw.hear().await;
    let done = matches!(
        &heard,
        Some(ServerFrame::Reply {
            id: 3,
            reply: Reply::Answer { .. }
        })
    );
    assert!(done, "{heard:?}");
    engine.script.was_asked(1, is_abort).await;
}

/// The names by which others ask (FEATURES G); they never change.
#[test]
fn blue_and_green_are_asked_for_by_their_names() {
    let of = |request: Value| serde_json::from_value::<Request>(request).expect("understood");
    let placement = "shop@prod";
    let deploy = of(json!({ "request": "command", "command": {
        "verb": "deploy_green", "placement": placement, "version": "v2",
    } }));
    let switch = of(json!({ "request": "command", "command": {
        "verb": "switch_traffic", "placement": placement, "green_id": "#7", "revision": 3,
    } }));
    let back = of(json!({ "request": "command", "command": {
        "verb": "rollback_deployment", "placement": placement, "id": "#7", "reason": "it leaks",
    } }));
    let monitor = of(json!({
        "request": "monitor_blue_green", "placement": placement, "blue_id": "#6", "green_id": "#7",
    }));
    let place = || placement.parse().expect("valid");
    let expected = [
        Request::Command {
            command: CommandRequest::DeployGreen {
                placement: place(),
                version: "v2".parse().expect("valid"),
                reason: None,
                request_id: None,
            },
        },
        Request::Command {
            command: CommandRequest::SwitchTraffic {
                placement: place(),
                green_id: "#7".to_owned(),
                revision: 3,
            },
        },
        Request::Command {
            command: CommandRequest::RollbackDeployment {
                placement: place(),
                id: "#7".to_owned(),
                reason: "it leaks".into(),
                urgency: wheelhouse::model::Urgency::Ordinary,
            },
        },
        Request::MonitorBlueGreen {
            placement: place(),
            blue_id: "#6".to_owned(),
            green_id: "#7".to_owned(),
        },
    ];
    assert_eq!([deploy, switch, back, monitor], expected);
}

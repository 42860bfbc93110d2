//! Callers without manners, and the others beside them.

use crate::support::*;
use std::sync::Arc;
use wheelhouse::link::frame::encode;
use wheelhouse::link::wire::{FRAME_BYTES_MAX, PROTOCOL, Reply, Request, ServerFrame};
use wheelhouse::link::{Client, Trouble};

/// A client that is served before, while and after somebody misbehaves.
async fn is_served(client: &Client) {
    let reply = client.ask(Request::Snapshot, PATIENCE).await;
    assert!(matches!(reply, Ok(Reply::Snapshot { .. })), "{reply:?}");
}

fn is_cut_off(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::CutOff { .. })
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_refused_by_its_head_and_closes_only_its_own_connection() {
    let engine = Engine::start().await;
    let (beside, _) = engine.client().await;
    let head = u32::try_from(FRAME_BYTES_MAX + 1).expect("fits");
    for greeted in [false, true] {
        let mut raw = match greeted {
            true => Raw::greeted(&engine).await,
            false => Raw::to(&engine).await,
        };
        raw.send(&head.to_be_bytes()).await;
        raw.is_sent_away("longer than").await;
        is_served(&beside).await;
    }
    engine.script.has_trouble(is_cut_off).await;
    assert_eq!(engine.script.troubles.borrow().len(), 2);
}

#[tokio::test]
async fn garbage_closes_only_its_own_connection() {
    let engine = Engine::start().await;
    let (beside, _) = engine.client().await;
    let unknown = encode(&serde_json::json!({ "frame": "explode" })).expect("short");
    let nested = encode(&format!("{}1", "[".repeat(100_000))).expect("fits");
    let mut not_json = encode(&"").expect("short").to_vec();
    not_json.truncate(4);
    not_json.extend(b"\xff\xfe");
    for bytes in [&unknown[..], &nested[..], &not_json[..]] {
        let mut raw = Raw::greeted(&engine).await;
        raw.send(bytes).await;
        raw.is_sent_away("does not follow the protocol").await;
        is_served(&beside).await;
    }
    assert_eq!(*engine.script.asked.borrow(), []);
}

#[tokio::test]
async fn half_a_frame_that_is_never_finished_has_a_deadline_and_an_idle_caller_has_none() {
    let engine = Engine::start().await;
    let (idle, _) = engine.client().await;
    let mut raw = Raw::greeted(&engine).await;
    let frame = encode(&request(1, abort())).expect("short");
    raw.send(&frame[..frame.len() - 1]).await;
    raw.is_sent_away("not finished within").await;
    let mut left = Raw::greeted(&engine).await;
    left.send(&frame[..frame.len() - 1]).await;
    drop(left);
    // Both connections are long past the deadlines that ended the other one.
    is_served(&idle).await;
    assert_eq!(*engine.script.asked.borrow(), [], "half an abort is none");
}

#[tokio::test]
async fn a_frame_in_many_pieces_is_one_frame() {
    let engine = Engine::start().await;
    let mut raw = Raw::to(&engine).await;
    let mut bytes = encode(&hello(PROTOCOL)).expect("short").to_vec();
    bytes.extend(encode(&request(5, abort())).expect("short"));
    for byte in bytes {
        raw.send(&[byte]).await;
    }
    assert!(matches!(raw.hear().await, Some(ServerFrame::Hello { .. })));
    let heard = raw.hear().await;
    assert!(
        matches!(heard, Some(ServerFrame::Reply { id: 5, .. })),
        "{heard:?}"
    );
}

#[tokio::test]
async fn one_that_never_reads_is_cut_off_and_the_others_get_every_newest_snapshot() {
    let engine = Engine::start().await;
    let mut deaf = Raw::greeted(&engine).await;
    deaf.say(&request(1, Request::Watch)).await;
    let (beside, _) = engine.client().await;
    let mut snapshots = beside.watch(PATIENCE).await.expect("watching");
    // Each is far more than a socket's buffer holds.
    let mut sent = 0;
    let mut troubles = engine.script.troubles.subscribe();
    while !troubles.borrow_and_update().iter().any(is_cut_off) {
        sent += 1;
        assert!(sent < 1_000, "nobody was cut off");
        let newest = Arc::new(snapshot(sent, 500_000));
        engine.script.snapshots.send_replace(newest);
        let arrived = async {
            loop {
                let next = snapshots.next().await.expect("still connected");
                if next.engine.now_ms == sent {
                    return;
                }
            }
        };
        soon("the newest snapshot", arrived).await;
    }
    is_served(&beside).await;
    let Trouble::CutOff { why, .. } = engine.script.has_trouble(is_cut_off).await else {
        unreachable!("it was found as one");
    };
    assert!(why.as_str().contains("not finished within"), "{why}");
}

#[tokio::test]
async fn a_slow_reader_gets_the_newest_snapshot_and_not_each_one() {
    let engine = Engine::start().await;
    let mut slow = Raw::greeted(&engine).await;
    slow.say(&request(1, Request::Watch)).await;
    let heard = slow.hear().await;
    assert!(
        matches!(heard, Some(ServerFrame::Reply { id: 1, .. })),
        "{heard:?}"
    );
    for now_ms in 1..=1_000 {
        engine
            .script
            .snapshots
            .send_replace(Arc::new(snapshot(now_ms, 0)));
    }
    let mut count = 0;
    loop {
        count += 1;
        match slow.hear().await {
            Some(ServerFrame::Snapshot { snapshot }) if snapshot.engine.now_ms == 1_000 => break,
            Some(ServerFrame::Snapshot { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(count < 1_000, "{count} frames for 1000 snapshots");
}

#[tokio::test]
async fn many_consoles_all_see_the_same_and_ask_beside_each_other() {
    let engine = Engine::start().await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        let connected = Client::connect(&engine.socket, &caller(true)).await;
        clients.push(connected.expect("connected").0);
    }
    engine.script.has_attached(40).await;
    engine
        .script
        .snapshots
        .send_replace(Arc::new(snapshot(42, 200_000)));
    let all = clients.iter().map(|client| async {
        let mut snapshots = client.watch(PATIENCE).await.expect("watching");
        let seen = snapshots.next().await.expect("one comes");
        let reply = client.ask(abort(), PATIENCE).await;
        assert!(matches!(reply, Ok(Reply::Answer { .. })), "{reply:?}");
        seen.engine.now_ms
    });
    let seen = soon("everybody is served", futures::future::join_all(all)).await;
    assert_eq!(seen, vec![42; 40]);
}

#[tokio::test]
async fn a_request_of_one_who_hung_up_is_carried_out() {
    let engine = Engine::start().await;
    let mut raw = Raw::greeted(&engine).await;
    raw.say(&request(1, abort())).await;
    drop(raw);
    engine.script.was_asked(1, is_abort).await;
}

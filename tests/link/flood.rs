//! An abort gets through, whatever else arrives.

use crate::support::*;
use std::time::Duration;
use wheelhouse::link::wire::{PROTOCOL, Reply, Request, ServerFrame};
use wheelhouse::link::{Client, Limits, Trouble};

fn is_slow(request: &Request) -> bool {
    matches!(request, Request::History { .. })
}

fn few() -> Limits {
    Limits {
        sessions: 3,
        sessions_per_uid: 3,
        lobby: 4,
        // Nobody leaves the lobby by time here.
        hello: Duration::from_secs(60),
        ..limits()
    }
}

async fn must_abort(client: &Client) {
    let reply = client.ask(abort(), PATIENCE).await;
    assert!(matches!(reply, Ok(Reply::Answer { .. })), "{reply:?}");
}

#[tokio::test]
async fn an_abort_overtakes_its_own_connections_slow_requests_and_the_rest_is_told_to_wait() {
    let engine = Engine::start().await;
    let asks = u64::try_from(limits().asks).expect("small");
    let mut raw = Raw::greeted(&engine).await;
    for id in 1..=asks + 1 {
        raw.say(&request(id, Request::History { limit: 1 })).await;
    }
    match raw.hear().await {
        Some(ServerFrame::Reply {
            id,
            reply: Reply::Error { text },
        }) => {
            assert_eq!(id, asks + 1);
            assert!(text.as_str().contains("wait for an answer"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    raw.say(&request(100, abort())).await;
    let heard = raw.hear().await;
    assert!(
        matches!(heard, Some(ServerFrame::Reply { id: 100, .. })),
        "{heard:?}"
    );
    engine.script.gate.add_permits(limits().asks);
    for _ in 0..asks {
        let heard = raw.hear().await;
        assert!(
            matches!(heard, Some(ServerFrame::Reply { .. })),
            "{heard:?}"
        );
    }
}

#[tokio::test]
async fn with_every_place_taken_an_abort_and_a_look_get_through_and_nothing_else() {
    let engine = Engine::with(options(few())).await;
    let mut seated = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::greeted(&engine).await;
        raw.say(&request(1, Request::History { limit: 1 })).await;
        seated.push(raw);
    }
    engine.script.was_asked(3, is_slow).await;

    let (client, _) = engine.client().await;
    must_abort(&client).await;
    let (client, _) = engine.client().await;
    let reply = client.ask(Request::Snapshot, PATIENCE).await;
    assert!(matches!(reply, Ok(Reply::Snapshot { .. })), "{reply:?}");
    let mut raw = Raw::greeted(&engine).await;
    raw.say(&request(1, Request::Stop)).await;
    raw.is_sent_away("too many consoles: 3 are connected").await;
    let stopped = engine.script.asked.borrow();
    assert!(!stopped.iter().any(|(_, request)| *request == Request::Stop));
    drop(stopped);

    // A place that is given up is taken by the next one.
    drop(seated.pop());
    engine.script.gate.add_permits(3);
    let again = async {
        loop {
            let (client, _) = engine.client().await;
            if client.ask(Request::Stop, PATIENCE).await == Ok(Reply::Done) {
                return;
            }
        }
    };
    soon("a place is free", again).await;
}

#[tokio::test]
async fn a_flood_of_silent_connections_makes_room_for_one_that_speaks() {
    let engine = Engine::with(options(few())).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(Raw::to(&engine).await);
        if silent.len() % 50 == 0 {
            let (client, _) = engine.client().await;
            must_abort(&client).await;
        }
    }
    engine
        .script
        .has_trouble(|trouble| *trouble == Trouble::Crowded)
        .await;
    silent[0].is_sent_away("too many connections").await;
    engine.serves_others().await;
}

#[tokio::test]
async fn with_places_and_lobby_full_of_talkers_twenty_aborts_at_once_all_arrive() {
    let engine = Engine::with(options(Limits { lobby: 64, ..few() })).await;
    let mut seated = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::greeted(&engine).await;
        raw.say(&request(1, Request::History { limit: 1 })).await;
        seated.push(raw);
    }
    engine.script.was_asked(3, is_slow).await;
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let mut raw = Raw::to(&engine).await;
        raw.say(&hello(PROTOCOL)).await;
        waiting.push(raw);
    }
    let aborts = (0..20).map(|_| async {
        let (client, _) = engine.client().await;
        must_abort(&client).await;
    });
    soon("every abort", futures::future::join_all(aborts)).await;
    engine.script.was_asked(20, is_abort).await;
}

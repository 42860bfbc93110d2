//! Who is who, and which version they speak.

use crate::support::*;
use std::collections::BTreeSet;
use tokio::net::UnixListener;
use wheelhouse::link::frame::encode;
use wheelhouse::link::wire::{PROTOCOL, Reply, Request, ServerFrame};
use wheelhouse::link::{Access, Client, ConnectError, Trouble, own_uid, socket_path};
use wheelhouse::model::{Actor, Role};

/// Whether an error is the one expected.
type Fits = fn(&ConnectError) -> bool;

#[tokio::test]
async fn both_sides_learn_who_the_other_one_is_and_the_kernel_names_the_actor() {
    let engine = Engine::start().await;
    let (client, hello) = engine.client().await;
    assert_eq!(hello.version.as_str(), "9.9");
    assert_eq!(hello.config_path.as_str(), "/etc/shop.toml");
    let Actor::Person { uid, .. } = hello.you else {
        panic!("a person: {:?}", hello.you);
    };
    assert_eq!(uid, own_uid());
    let reply = client.ask(abort(), PATIENCE).await.expect("answered");
    assert!(matches!(reply, Reply::Answer { .. }), "{reply:?}");
    assert_eq!(*engine.script.asked.borrow(), [(hello.you, abort())]);
}

#[tokio::test]
async fn another_configuration_is_told_from_the_same_and_from_none() {
    let engine = Engine::start().await;
    let (_, hello) = engine.client().await;
    let differs = [Some(HASH), Some("other"), None].map(|hash| hello.differs(hash));
    assert_eq!(differs, [false, true, false]);
}

#[tokio::test]
async fn another_protocol_is_refused_with_both_versions_and_the_mend() {
    let engine = Engine::start().await;
    let mut raw = Raw::to(&engine).await;
    raw.say(&crate::support::hello(PROTOCOL + 1)).await;
    let because = format!("speaks protocol {PROTOCOL}, your wheelhouse (0.0.1)");
    raw.is_sent_away(&because).await;
    engine.serves_others().await;
}

#[tokio::test]
async fn an_engine_of_another_protocol_or_of_none_is_not_talked_to() {
    let hello = |protocol| ServerFrame::Hello {
        protocol,
        version: "99".to_owned(),
        config_path: String::new(),
        config_hash: String::new(),
        you: Actor::Engine,
        role: Role::Operator,
    };
    let other = encode(&hello(PROTOCOL + 1)).expect("short").to_vec();
    let reply = ServerFrame::Reply {
        id: 1,
        reply: Reply::Done,
    };
    let reply = encode(&reply).expect("short").to_vec();
    let talks: [(Vec<u8>, Fits); 4] = [
        (
            other,
            |e| matches!(e, ConnectError::Protocol { theirs, .. } if *theirs == PROTOCOL + 1),
        ),
        (reply, |e| matches!(e, ConnectError::Nonsense { .. })),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), |e| {
            matches!(e, ConnectError::Nonsense { .. })
        }),
        (Vec::new(), |e| matches!(e, ConnectError::Refused { .. })),
    ];
    for (bytes, fits) in talks {
        let dir = private_dir();
        let path = socket_path(dir.path());
        let listener = UnixListener::bind(&path).expect("bound");
        let answering = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a caller");
            let mut raw = Raw(stream);
            raw.send(&bytes).await;
            // Closing before all of the hello was read would lose the bytes.
            assert!(raw.take_frame().await.is_some());
        });
        let error = Client::connect(&path, &caller(false))
            .await
            .expect_err("refused");
        assert!(fits(&error), "{error}");
        answering.await.expect("no panic");
    }
}

#[tokio::test]
async fn nobody_there_says_how_to_start_one() {
    let dir = private_dir();
    let socket = socket_path(dir.path());
    for stale in [false, true] {
        if stale {
            drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
        }
        let error = Client::connect(&socket, &caller(false))
            .await
            .expect_err("nobody");
        assert!(matches!(error, ConnectError::NotRunning { .. }), "{error}");
        assert!(error.to_string().contains("wheelhouse engine run"));
    }
}

#[tokio::test]
async fn a_uid_that_is_not_allowed_is_refused_before_a_byte_is_read_and_reported() {
    let mut options = options(limits());
    options.access = Access::only(BTreeSet::from([own_uid() + 1]));
    let engine = Engine::with(options).await;
    let mut raw = Raw::to(&engine).await;
    raw.is_sent_away("this engine is not for you").await;
    let trouble = engine
        .script
        .has_trouble(|one| matches!(one, Trouble::Stranger { .. }))
        .await;
    let pid = i32::try_from(std::process::id()).expect("fits");
    let stranger = Trouble::Stranger {
        uid: own_uid(),
        pid: Some(pid),
    };
    assert_eq!(trouble, stranger);
    let error = Client::connect(&engine.socket, &caller(false))
        .await
        .expect_err("refused");
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn the_first_frame_is_a_hello_that_comes_in_time_and_comes_once() {
    let engine = Engine::start().await;
    let mut early = Raw::to(&engine).await;
    early.say(&request(1, abort())).await;
    early.is_sent_away("must be a hello").await;
    let mut silent = Raw::to(&engine).await;
    silent.is_sent_away("no hello came").await;
    let mut twice = Raw::greeted(&engine).await;
    twice.say(&crate::support::hello(PROTOCOL)).await;
    twice.is_sent_away("second hello").await;
    assert_eq!(*engine.script.asked.borrow(), []);
    engine.serves_others().await;
}

#[tokio::test]
async fn consoles_are_attached_while_they_are_there_and_commands_never() {
    let engine = Engine::start().await;
    let (command, _) = engine.client().await;
    let console = caller(true);
    let connect = || Client::connect(&engine.socket, &console);
    let (first, _) = connect().await.expect("connected");
    let (second, _) = connect().await.expect("connected");
    engine.script.has_attached(2).await;
    assert_eq!(engine.script.attached.borrow()[0].since_ms, 7);
    drop(first);
    engine.script.has_attached(1).await;
    drop(second);
    engine.script.has_attached(0).await;
    let reply = command.ask(Request::Stop, PATIENCE).await;
    assert_eq!(reply, Ok(Reply::Done));
}

#[tokio::test]
async fn an_engine_that_ends_says_so_and_a_sent_request_is_unknown() {
    use wheelhouse::link::AskError;
    let engine = Engine::start().await;
    let (client, _) = engine.client().await;
    let client = std::sync::Arc::new(client);
    let asking = tokio::spawn({
        let client = std::sync::Arc::clone(&client);
        async move { client.ask(Request::History { limit: 1 }, PATIENCE).await }
    });
    engine
        .script
        .was_asked(1, |request| matches!(request, Request::History { .. }))
        .await;
    engine.stop().await;
    let outcome = asking.await.expect("no panic");
    assert!(
        matches!(outcome, Err(AskError::Unknown { .. })),
        "{outcome:?}"
    );
    let later = client.ask(abort(), PATIENCE).await;
    assert!(matches!(later, Err(AskError::NotSent { .. })), "{later:?}");
    assert!(client.why_ended().as_str().contains("the engine ends"));
}

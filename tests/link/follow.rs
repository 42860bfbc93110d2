//! A console's connection comes back by itself.

use crate::support::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wheelhouse::link::wire::{Reply, Request};
use wheelhouse::link::{Backoff, LinkEvent, bind, follow};

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(80),
};

/// The console's end of the channels.
struct Console {
    requests: mpsc::Sender<(u64, Request)>,
    events: mpsc::Receiver<LinkEvent>,
    following: JoinHandle<()>,
}

impl Console {
    fn on(socket: &Path) -> Self {
        let (requests, asked) = mpsc::channel(8);
        let (told, events) = mpsc::channel(8);
        let socket = socket.to_owned();
        let following = tokio::spawn(async move {
            follow(&socket, &caller(true), BACKOFF, asked, told).await;
        });
        Self {
            requests,
            events,
            following,
        }
    }

    /// The next event that fits; others before it are passed over.
    async fn until<T>(&mut self, what: &str, fits: impl Fn(LinkEvent) -> Option<T>) -> T {
        soon(what, async {
            loop {
                let event = self.events.recv().await.expect("it goes on");
                if let Some(found) = fits(event) {
                    return found;
                }
            }
        })
        .await
    }

    async fn sees(&mut self, now_ms: u64) {
        self.until("the snapshot", |event| match event {
            LinkEvent::Snapshot(seen) => (seen.engine.now_ms == now_ms).then_some(()),
            _ => None,
        })
        .await;
    }

    async fn is_connected(&mut self) {
        self.until("a connection", |event| {
            matches!(event, LinkEvent::Connected(_)).then_some(())
        })
        .await;
    }

    async fn is_told_why(&mut self) -> String {
        self.until("the reason", |event| match event {
            LinkEvent::Disconnected { why } => Some(why.into_string()),
            _ => None,
        })
        .await
    }
}

fn show(engine: &Engine, now_ms: u64) {
    let newest = Arc::new(snapshot(now_ms, 0));
    engine.script.snapshots.send_replace(newest);
}

#[tokio::test]
async fn it_says_why_the_engine_is_gone_once_and_sees_again_when_one_is_back() {
    let engine = Engine::start().await;
    let mut console = Console::on(&engine.socket);
    console.is_connected().await;
    show(&engine, 1);
    console.sees(1).await;
    let dir = engine.stop().await.expect("its directory");
    let why = console.is_told_why().await;
    assert!(why.contains("the engine ends"), "{why}");
    let why = console.is_told_why().await;
    assert!(why.contains("no engine answers"), "{why}");

    let bound = bind(dir.path()).await.expect("bound");
    let engine = Engine::on(bound, options(limits()));
    show(&engine, 2);
    // Many attempts failed for the same reason in the meantime; it is not told again.
    let next = soon("the next event", console.events.recv()).await;
    assert!(matches!(next, Some(LinkEvent::Connected(_))), "{next:?}");
    console.sees(2).await;
    show(&engine, 3);
    console.sees(3).await;
    engine.stop().await;
}

#[tokio::test]
async fn a_request_without_a_connection_is_answered_at_once_and_never_sent_later() {
    let dir = private_dir();
    let bound = bind(dir.path()).await.expect("bound");
    let socket = bound.path().to_owned();
    drop(bound);
    let mut console = Console::on(&socket);
    console.is_told_why().await;
    console.requests.send((9, abort())).await.expect("taken");
    let text = console
        .until("an answer", |event| match event {
            LinkEvent::Reply {
                id: 9,
                reply: Reply::Error { text },
            } => Some(text.into_string()),
            _ => None,
        })
        .await;
    assert!(text.contains("nothing was sent"), "{text}");
    let engine = Engine::on(bind(dir.path()).await.expect("bound"), options(limits()));
    console.is_connected().await;
    console
        .requests
        .send((10, Request::Stop))
        .await
        .expect("taken");
    engine
        .script
        .was_asked(1, |request| *request == Request::Stop)
        .await;
    let asked = engine.script.asked.borrow();
    assert!(!asked.iter().any(|(_, request)| is_abort(request)));
    drop(asked);
    engine.stop().await;
}

#[tokio::test]
async fn a_request_that_was_sent_when_the_engine_went_gets_no_false_answer() {
    let engine = Engine::start().await;
    let mut console = Console::on(&engine.socket);
    console.is_connected().await;
    let slow = Request::History { limit: 1 };
    console.requests.send((4, slow)).await.expect("taken");
    engine
        .script
        .was_asked(1, |request| matches!(request, Request::History { .. }))
        .await;
    engine.stop().await;
    let replied = console
        .until("the end", |event| match event {
            LinkEvent::Reply { .. } => Some(true),
            LinkEvent::Disconnected { .. } => Some(false),
            _ => None,
        })
        .await;
    assert!(!replied, "nobody knows what became of it");
}

#[tokio::test(start_paused = true)]
async fn the_pause_between_attempts_doubles_up_to_the_longest() {
    // A door that closes at once: each knock is one attempt.
    let dir = private_dir();
    let path = wheelhouse::link::socket_path(dir.path());
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    listener.set_nonblocking(true).expect("set");
    let console = Console::on(&path);
    let mut knocks = Vec::new();
    while knocks.len() < 6 {
        // Time stands still but for this: a millisecond passes each time all others wait.
        tokio::time::sleep(Duration::from_millis(1)).await;
        if listener.accept().is_ok() {
            knocks.push(Instant::now());
        }
    }
    let pauses = knocks.windows(2).map(|pair| pair[1] - pair[0]);
    for (pause, least) in pauses.zip([20, 40, 80, 80, 80].map(Duration::from_millis)) {
        // A knock, its end and our look at it are milliseconds of their own.
        let most = least + Duration::from_millis(10);
        assert!((least..=most).contains(&pause), "{pause:?} of {least:?}");
    }
    drop(console);
}

#[tokio::test]
async fn it_ends_with_the_console() {
    let engine = Engine::start().await;
    let mut console = Console::on(&engine.socket);
    console.is_connected().await;
    engine.script.has_attached(1).await;
    drop((console.requests, console.events));
    soon("it ends", console.following).await.expect("no panic");
    engine.script.has_attached(0).await;
}

#[tokio::test]
async fn a_console_that_takes_no_events_holds_up_nobody_and_then_gets_the_newest() {
    let engine = Engine::start().await;
    let mut console = Console::on(&engine.socket);
    for now_ms in 1..=200 {
        show(&engine, now_ms);
        engine.serves_others().await;
    }
    console.sees(200).await;
    assert!(
        console.events.is_empty(),
        "nothing is queued behind the newest"
    );
}

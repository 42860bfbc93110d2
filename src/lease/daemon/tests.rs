use super::*;
use crate::lease::{Lease, Process};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// A daemon's markers, shared by the engines of a test.
#[derive(Clone, Default)]
struct Fake {
    all: Arc<Mutex<BTreeMap<u64, String>>>,
    /// Answers nothing, as a frozen one.
    frozen: Arc<AtomicBool>,
}

impl Fake {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.all.lock().expect("not broken")
    }

    async fn answers(&self) {
        while self.frozen.load(Ordering::SeqCst) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

impl Board for Fake {
    fn words(&self) -> Clean {
        "the fake".into()
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<(u64, String)>, Clean>> {
        Box::pin(async {
            self.answers().await;
            Ok(self.lock().clone().into_iter().collect())
        })
    }

    fn post(&self, number: u64, text: String) -> BoxFuture<'_, Result<String, Clean>> {
        Box::pin(async move {
            self.answers().await;
            Ok(self.lock().entry(number).or_insert(text).clone())
        })
    }

    fn remove(&self, number: u64) -> BoxFuture<'_, Result<(), Clean>> {
        Box::pin(async move {
            self.answers().await;
            self.lock().remove(&number);
            Ok(())
        })
    }
}

/// An engine on a machine; unless it says otherwise its process is this test's, and so runs.
fn holder(host: &str, boot: &str, engine: &str) -> Holder {
    Holder {
        host: host.into(),
        boot: boot.to_owned(),
        user: "ada".into(),
        engine: engine.to_owned(),
        pid: std::process::id(),
        process: Process::own().map(Box::new),
        since_ms: 1_700_000_000_000,
    }
}

fn lease(board: &Fake, host: &str, boot: &str, engine: &str) -> Lease {
    let lease = DaemonLease::new(board.clone(), holder(host, boot, engine));
    Lease::Daemon(Arc::new(lease))
}

#[tokio::test]
async fn one_engine_at_a_time_and_the_next_once_it_is_given_back() {
    let board = Fake::default();
    let (first, second) = (lease(&board, "a", "1", "x"), lease(&board, "b", "2", "y"));
    assert_eq!(first.check().await, Ok(()));
    assert_eq!(first.check().await, Ok(()), "again and again");
    assert_eq!(
        second.check().await,
        Err(NotOurs::Held(holder("a", "1", "x")))
    );
    first.release().await;
    assert!(board.lock().is_empty(), "nothing stays");
    assert_eq!(second.check().await, Ok(()));
    assert_eq!(
        first.check().await,
        Err(NotOurs::Held(holder("b", "2", "y")))
    );
}

#[tokio::test]
async fn what_a_dead_process_or_an_earlier_boot_of_this_machine_left_is_free() {
    let mut dead = holder("a", "1", "x");
    let process = dead.process.as_mut().expect("Linux");
    // The same id, and another process by now.
    process.started += 1;
    for left in [dead, holder("a", "0", "x")] {
        let board = Fake::default();
        board
            .lock()
            .insert(4, serde_json::to_string(&left).expect("JSON"));
        assert_eq!(
            lease(&board, "a", "1", "y").check().await,
            Ok(()),
            "{left:?}"
        );
        assert_eq!(
            board.lock().keys().copied().collect::<Vec<_>>(),
            [5],
            "the old one went"
        );
    }
}

#[tokio::test]
async fn who_cannot_be_judged_from_here_holds_it_until_a_person_passes_it_over() {
    let elsewhere = holder("b", "2", "x");
    let mut in_a_container = holder("a", "1", "x");
    in_a_container.process.as_mut().expect("Linux").namespace = "pid:[1]".to_owned();
    let mut older = holder("a", "1", "x");
    older.process = None;
    for theirs in [elsewhere, in_a_container, older] {
        let board = Fake::default();
        board
            .lock()
            .insert(1, serde_json::to_string(&theirs).expect("JSON"));
        let mine = lease(&board, "a", "1", "y");
        assert_eq!(mine.check().await, Err(NotOurs::Held(theirs.clone())));
        assert_eq!(mine.take_over().await.expect("taken"), Some(theirs));
        assert_eq!(mine.check().await, Ok(()));
        assert_eq!(mine.take_over().await.expect("taken"), None, "it has it");
        assert_eq!(board.lock().len(), 1);
    }
    // Nor is what nobody can read free: an engine wrote it.
    let board = Fake::default();
    board.lock().insert(1, "{torn".to_owned());
    let held = lease(&board, "a", "1", "y").check().await;
    assert!(matches!(held, Err(NotOurs::Held(_))), "{held:?}");
}

#[tokio::test]
async fn of_many_that_find_a_dead_engines_marker_one_has_it() {
    let board = Fake::default();
    board.lock().insert(
        1,
        serde_json::to_string(&holder("a", "0", "x")).expect("JSON"),
    );
    let all: Vec<_> = (0..20)
        .map(|n| lease(&board, "a", "1", &format!("e{n}")))
        .collect();
    let found = futures::future::join_all(all.iter().map(Lease::check)).await;
    assert_eq!(
        found.iter().filter(|found| found.is_ok()).count(),
        1,
        "{found:?}"
    );
}

#[tokio::test]
async fn a_takeover_is_found_out_before_the_next_write_and_stays() {
    let board = Fake::default();
    let (first, second) = (lease(&board, "a", "1", "x"), lease(&board, "b", "2", "y"));
    assert_eq!(first.check().await, Ok(()));
    assert_eq!(
        second.take_over().await.expect("taken"),
        Some(holder("a", "1", "x"))
    );
    let lost = Err(NotOurs::Lost(holder("b", "2", "y")));
    assert_eq!(first.check().await, lost);
    second.release().await;
    assert_eq!(first.check().await, lost, "only a person gives it back");
    assert_eq!(first.take_over().await.expect("taken"), None);
    assert_eq!(first.check().await, Ok(()));
}

#[tokio::test]
async fn the_holder_keeps_it_when_its_marker_is_tidied_away_or_the_daemon_is_frozen() {
    let board = Fake::default();
    let (mine, never) = (lease(&board, "a", "1", "x"), lease(&board, "a", "1", "z"));
    assert_eq!(mine.check().await, Ok(()));
    board.lock().clear();
    assert_eq!(mine.check().await, Ok(()));
    assert_eq!(board.lock().len(), 1, "made anew");
    board.frozen.store(true, Ordering::SeqCst);
    assert_eq!(
        mine.check().await,
        Ok(()),
        "nothing shows that it is another's"
    );
    let unknown = never.check().await;
    assert!(matches!(unknown, Err(NotOurs::Unknown(_))), "{unknown:?}");
    // What was asked meanwhile is answered when it thaws, to whoever asks then.
    board.frozen.store(false, Ordering::SeqCst);
    let held = Err(NotOurs::Held(holder("a", "1", "x")));
    assert_eq!(never.check().await, held);
}

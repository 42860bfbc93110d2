//! What every runtime adapter promises.

use super::eventually;
use uuid::Uuid;
use wheelhouse::model::world::InstanceView;
use wheelhouse::model::{Outcome, Placement, ReleaseId, ServerName};
use wheelhouse::ports::{Runtime, Start, Stop};

/// Holds an adapter to its word. `start` begins an instance that says something and then runs
/// until it is stopped; `failing` begins, behind another server, one that ends by itself.
pub async fn keeps_its_word<R: Runtime>(runtime: &R, start: Start, failing: Start) {
    let pid = starts_once(runtime, &start).await;
    follows_the_restart_policy(runtime, &start, pid).await;
    keeps_one_release_behind_a_server(runtime, &start, pid).await;
    reads_output_from_a_position_on(runtime, &start).await;
    tells_what_a_running_instance_would_leave(runtime, &start).await;
    says_why_an_instance_ended(runtime, failing).await;
    stops_once(runtime, &start).await;
}

/// Holds an adapter to its word about a runtime that is not there.
pub async fn knows_that_nobody_is_there<R: Runtime>(runtime: &R, start: Start) {
    let error = runtime
        .read(&start.placement)
        .await
        .expect_err("nobody answers");
    assert!(!error.to_string().is_empty());
    let written = runtime.start(start).await;
    assert!(
        matches!(written.outcome, Outcome::Rejected { .. }),
        "nothing can have changed: {:?}",
        written.outcome
    );
}

/// Reads from before a start until there is a process.
async fn nobody_who_begins_has_exited<R: Runtime>(runtime: &R, start: &Start) {
    loop {
        let there = view(runtime, &start.placement, &start.server).await;
        let exited = there.as_ref().and_then(|there| there.exited.clone());
        assert_eq!(exited, None, "it has not even begun");
        if there.is_some_and(|there| there.pid != 0) {
            return;
        }
    }
}

/// The instance behind a server.
pub async fn view<R: Runtime>(
    runtime: &R,
    placement: &Placement,
    server: &ServerName,
) -> Option<InstanceView> {
    let reading = runtime.read(placement).await.expect("readable");
    reading.instances.get(server).cloned()
}

async fn starts_once<R: Runtime>(runtime: &R, start: &Start) -> u32 {
    let (first, ()) = tokio::join!(
        runtime.start(start.clone()),
        nobody_who_begins_has_exited(runtime, start)
    );
    assert_eq!(first.outcome, Outcome::Applied);
    let first = first.reading.expect("read back").instances[&start.server].clone();
    assert_eq!((first.release, first.exited), (start.release, None));
    assert_ne!(first.pid, 0);
    let again = runtime.start(start.clone()).await;
    assert_eq!(again.outcome, Outcome::Applied);
    let again = again.reading.expect("read back").instances[&start.server].clone();
    assert_eq!(
        (again.pid, again.restarts),
        (first.pid, 0),
        "one start, one instance"
    );
    first.pid
}

async fn follows_the_restart_policy<R: Runtime>(runtime: &R, start: &Start, pid: u32) {
    for (id, keep_running) in [(start.id + 1, true), (start.id + 2, false)] {
        let changed = Start {
            id,
            keep_running,
            ..start.clone()
        };
        assert_eq!(runtime.start(changed).await.outcome, Outcome::Applied);
        let view = view(runtime, &start.placement, &start.server)
            .await
            .expect("there");
        assert_eq!((view.pid, view.keep_running), (pid, keep_running));
    }
}

async fn keeps_one_release_behind_a_server<R: Runtime>(runtime: &R, start: &Start, pid: u32) {
    let other = Start {
        id: start.id + 3,
        release: ReleaseId(Uuid::now_v7()),
        ..start.clone()
    };
    assert_ne!(runtime.start(other).await.outcome, Outcome::Applied);
    let view = view(runtime, &start.placement, &start.server)
        .await
        .expect("there");
    assert_eq!((view.pid, view.release), (pid, start.release));
}

async fn reads_output_from_a_position_on<R: Runtime>(runtime: &R, start: &Start) {
    let page = eventually("the instance said something", || async {
        let page = runtime
            .logs(&start.placement, &start.server, 0)
            .await
            .ok()?;
        (!page.lines.is_empty()).then_some(page)
    })
    .await;
    assert_eq!(page.skipped, 0);
    let first = runtime
        .logs(&start.placement, &start.server, 0)
        .await
        .expect("readable");
    assert_eq!(first.lines[0], page.lines[0], "reading takes nothing away");
    let rest = runtime
        .logs(&start.placement, &start.server, first.next)
        .await
        .expect("readable");
    assert!(rest.next >= first.next);
}

async fn tells_what_a_running_instance_would_leave<R: Runtime>(runtime: &R, start: &Start) {
    let (placement, server) = (&start.placement, &start.server);
    let left = runtime.evidence(placement, server, start.release).await;
    let left = left.expect("readable").expect("it is there");
    assert_eq!(left.ended, None);
    assert!(
        left.started_ms.is_some() && !left.log.is_empty(),
        "{left:?}"
    );
    let other = ReleaseId(Uuid::now_v7());
    let left = runtime.evidence(placement, server, other).await;
    assert_eq!(left.expect("readable"), None, "of another release");
}

async fn says_why_an_instance_ended<R: Runtime>(runtime: &R, failing: Start) {
    assert!(
        !failing.keep_running,
        "one that is started again has not ended"
    );
    assert_eq!(
        runtime.start(failing.clone()).await.outcome,
        Outcome::Applied
    );
    let why = eventually("the instance ended", || async {
        view(runtime, &failing.placement, &failing.server)
            .await?
            .exited
    })
    .await;
    assert!(!why.is_empty());
    assert_eq!(
        runtime.start(failing.clone()).await.outcome,
        Outcome::Applied
    );
    let ended = view(runtime, &failing.placement, &failing.server)
        .await
        .expect("there");
    assert_eq!(
        ended.exited,
        Some(why.clone()),
        "the same start is not carried out twice"
    );
    let left = runtime
        .evidence(&failing.placement, &failing.server, failing.release)
        .await;
    let left = left.expect("readable").expect("it is there");
    assert_eq!(left.ended, Some(why));
    let stopped = runtime
        .stop(Stop::of(&failing.placement, &failing.server, 0))
        .await;
    assert_eq!(stopped.outcome, Outcome::Applied);
}

async fn stops_once<R: Runtime>(runtime: &R, start: &Start) {
    for _ in 0..2 {
        let stopped = runtime
            .stop(Stop::of(&start.placement, &start.server, 5_000))
            .await;
        assert_eq!(stopped.outcome, Outcome::Applied);
        let reading = stopped.reading.expect("read back");
        assert!(!reading.instances.contains_key(&start.server));
    }
}

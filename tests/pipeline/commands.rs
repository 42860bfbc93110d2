//! Programs as stages: what they are given, what they hand on, and every way in which they end.

use crate::support::{Place, command, marked, name, passed, shell, until, why};
use wheelhouse::model::pipeline::{StageCall, StageResult, StageWork};
use wheelhouse::ports::Stages;

/// A mark in the environment, by which a test finds its processes.
fn mark(place: &Place) -> String {
    format!("WHEELHOUSE_TEST_MARK={}", place.run)
}

/// A stage whose processes can be found.
fn found(place: &Place, line: &str) -> StageCall {
    let mut call = place.call("test", shell(line));
    let (name, value) = ("WHEELHOUSE_TEST_MARK".to_owned(), place.run.to_string());
    call.env.insert(name, value);
    call
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_runs_in_the_work_tree_with_few_variables_and_hands_on_values() {
    let place = Place::open();
    std::fs::create_dir(place.tree().join("service")).expect("made");
    std::fs::write(place.path("token"), "hunter2-token\n").expect("written");
    let line = "pwd; echo out; echo err >&2; echo \"token is $TOKEN\"; echo $WHEELHOUSE_COMMIT $MODE; \
                echo version=1.2.3 >> $WHEELHOUSE_OUTPUT; env | grep -c CARGO_PKG; cat; exit 0";
    let mut work = command(&["sh", "-c", line]);
    work.directory = Some("service".to_owned());
    work.env.insert("MODE".to_owned(), "ci".to_owned());
    let token = format!("file:{}", place.path("token").display());
    work.secrets
        .insert("TOKEN".to_owned(), token.parse().expect("a reference"));
    let call = place.call("test", StageWork::Command(work));
    let result = place.stages.run(call).await;
    assert_eq!(passed(&result), [("version", "1.2.3")].into());
    let output = place.output("test").await;
    let service = place.tree().join("service").canonicalize().expect("there");
    assert_eq!(output[0], service.display().to_string());
    let rest = [
        "out",
        "err",
        "token is [secret TOKEN]",
        "abc ci",
        "0",
        "[wheelhouse] passed",
    ];
    assert_eq!(output[1..], rest, "in the order in which it was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_of_a_program_has_its_words_and_the_failing_line() {
    let place = Place::open();
    for (line, said) in [
        (
            "echo 'error: no such table'; echo bye; exit 3",
            "exit code 3: error: no such table",
        ),
        ("echo one; echo two; false", "exit code 1: two"),
        ("exit 9", "exit code 9"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("kill -KILL $$", "killed by SIGKILL (out of memory?)"),
        (
            "printf 'fatal: \\377\\033[2J'; exit 1",
            "exit code 1: fatal: \u{fffd}␛[2J",
        ),
        (
            "echo 'No=1' > $WHEELHOUSE_OUTPUT",
            "WHEELHOUSE_OUTPUT line 1: `No` is no name",
        ),
        (
            "rm $WHEELHOUSE_OUTPUT; mkfifo $WHEELHOUSE_OUTPUT",
            "it is no file any more",
        ),
    ] {
        let result = place.sh(line).await;
        assert!(why(&result).contains(said), "{line}: {}", why(&result));
    }
    let absent = place.call(
        "test",
        StageWork::Command(command(&["no-such-program", "x"])),
    );
    let result = place.stages.run(absent).await;
    assert!(
        why(&result).contains("`no-such-program` cannot be run"),
        "{}",
        why(&result)
    );
    let mut outside = command(&["true"]);
    outside.directory = Some("../..".to_owned());
    let result = place
        .stages
        .run(place.call("test", StageWork::Command(outside)))
        .await;
    assert!(
        why(&result).contains("leads out of the work tree"),
        "{}",
        why(&result)
    );
    let mut secret = command(&["true"]);
    let reference = "file:/nonexistent/token".parse().expect("a reference");
    secret.secrets.insert("TOKEN".to_owned(), reference);
    let result = place
        .stages
        .run(place.call("test", StageWork::Command(secret)))
        .await;
    assert!(why(&result).contains("TOKEN"), "{}", why(&result));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_69_what_hangs_is_ended_at_its_time_with_all_that_it_forked() {
    let place = Place::open();
    // A child in the group, one that left it, and one whose parent is gone: all hold the output.
    let line = "sleep 600 & setsid sleep 600 & (setsid sh -c 'sleep 600 & sleep 600' &) ; \
                echo begun; wait";
    let mut call = found(&place, line);
    call.timeout_ms = 5_000;
    let result = place.stages.run(call).await;
    assert!(
        why(&result).contains("took longer than 5 s: begun"),
        "{}",
        why(&result)
    );
    assert_eq!(marked(&mark(&place)), [0; 0], "no orphan");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_69_a_program_that_ended_leaves_nothing_behind() {
    let place = Place::open();
    let line = "sleep 600 & setsid sleep 600 & trap '' TERM; echo done";
    let result = place.stages.run(found(&place, line)).await;
    passed(&result);
    assert_eq!(marked(&mark(&place)), [0; 0], "no orphan");
    assert_eq!(place.output("test").await, ["done", "[wheelhouse] passed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_is_polite_first_and_then_final() {
    let place = Place::open();
    for (line, last) in [
        (
            "trap 'echo tidied; exit 0' TERM; echo begun; while :; do sleep 0.05; done",
            "tidied",
        ),
        (
            "trap '' TERM; echo begun; while :; do sleep 0.05; done",
            "begun",
        ),
    ] {
        let running = place.stages.run(found(&place, line));
        let stages = place.stages.clone();
        let canceled = async {
            let is_begun = || stages.last_line(place.run, &name("test")).is_some();
            until("it began", is_begun).await;
            stages.cancel(place.run, &name("test"));
        };
        let (result, ()) = tokio::join!(running, canceled);
        assert_eq!(result, StageResult::Canceled);
        let output = place.output("test").await;
        assert_eq!(output[output.len() - 2..], [last, "[wheelhouse] canceled"]);
        assert_eq!(marked(&mark(&place)), [0; 0], "no orphan");
    }
    place.stages.cancel(place.run, &name("test"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stops_waiting_ends_it_and_the_next_attempt_waits_for_that() {
    let place = Place::open();
    let line = "trap 'echo ending; sleep 1; echo late > ended; exit 0' TERM; echo begun; while :; do sleep 0.05; done";
    {
        let running = place.stages.run(found(&place, line));
        let stages = place.stages.clone();
        let is_begun = || stages.last_line(place.run, &name("test")).is_some();
        tokio::select! {
            result = running => panic!("{result:?}"),
            () = until("it began", is_begun) => {}
        }
    }
    let mut again = found(&place, "cat ended");
    again.attempt = 2;
    let result = place.stages.run(again).await;
    passed(&result);
    let page = place
        .stages
        .logs(place.run, &name("test"), 2, 0)
        .await
        .expect("kept");
    assert_eq!(page.lines[0].as_str(), "late", "the first had ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_144_a_flood_and_a_line_without_end_take_little_room() {
    let place = Place::open();
    let line = "head -c 40000000 /dev/zero | tr '\\0' x; echo; \
                yes 'a line of the flood' | head -c 60000000; echo; echo 'error: at last'; exit 1";
    let result = place.sh(line).await;
    assert_eq!(why(&result), "exit code 1: error: at last");
    let run = place.tree();
    let run = run.parent().expect("the run's directory");
    let sizes = std::fs::read_dir(run).expect("listed").flatten();
    let sizes: u64 = sizes
        .map(|entry| entry.metadata().expect("there").len())
        .sum();
    assert!(sizes < 8 * 1024 * 1024, "{sizes}");
    let output = place.output("test").await;
    assert!(output[0].ends_with("…(+39995904)"), "{}", output[0].len());
    assert_eq!(output[output.len() - 2], "error: at last");
    let page = place
        .stages
        .logs(place.run, &name("test"), 1, 100_000)
        .await
        .expect("kept");
    assert!(page.skipped > 0, "the middle was dropped, and is counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stages_of_one_run_go_on_at_once_but_none_twice() {
    let place = Place::open();
    let wait = "echo begun; while ! [ -e go ]; do sleep 0.05; done";
    let first = place.stages.run(place.call("one", shell(wait)));
    let second = place.stages.run(place.call("two", shell(wait)));
    let stages = place.stages.clone();
    let go = async {
        for stage in ["one", "two"] {
            let is_begun = || stages.last_line(place.run, &name(stage)).is_some();
            until("it began", is_begun).await;
        }
        let again = stages.run(place.call("one", shell("true"))).await;
        assert!(why(&again).contains("still under way"), "{again:?}");
        place.stages.tidy(&[].into());
        std::fs::write(place.tree().join("go"), "").expect("a run under way keeps its tree");
    };
    let (first, second, ()) = tokio::join!(first, second, go);
    passed(&first);
    passed(&second);
    place.stages.tidy(&[].into());
    assert!(place.tree().exists(), "nobody may have known of it yet");
    place.stages.tidy(&[place.run].into());
    assert!(place.tree().exists(), "it is kept");
    place.stages.tidy(&[].into());
    assert!(!place.tree().exists());
    assert_eq!(place.output("one").await[0], "begun");
    let unknown = place.stages.logs(place.run, &name("one"), 7, 0).await;
    let unknown = unknown.expect_err("nothing is kept").0;
    assert!(unknown.as_str().contains("attempt 7"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shepherd_that_is_killed_leaves_a_stage_of_which_nobody_knows() {
    let place = Place::open();
    let running = place.stages.run(found(&place, "echo begun; sleep 600"));
    let stages = place.stages.clone();
    let killed = async {
        let is_begun = || stages.last_line(place.run, &name("test")).is_some();
        until("it began", is_begun).await;
        let pid = marked(&mark(&place))
            .into_iter()
            .min()
            .expect("the shepherd came first");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    };
    let (result, ()) = tokio::join!(running, killed);
    assert!(matches!(result, StageResult::Unknown { .. }), "{result:?}");
    until("its group ended too", || marked(&mark(&place)).is_empty()).await;
}

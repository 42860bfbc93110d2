//! The engine is killed while a stage is under way: another process of this test stands in for it.

use crate::support::{call, marked, name, passed, shell, stages_in, tree_in, until};
use std::path::Path;
use std::process::Command;
use uuid::Uuid;
use wheelhouse::model::RunId;
use wheelhouse::ports::Stages;
use wheelhouse::runtime::docker::Logins;

/// Set where this test is the engine that is killed, to the directory of its stages.
const ENGINE: &str = "WHEELHOUSE_TEST_ENGINE";
const RUN: &str = "WHEELHOUSE_TEST_RUN";

async fn be_the_engine(directory: &Path) {
    let run = std::env::var(RUN).expect("set");
    let run = RunId(Uuid::parse_str(&run).expect("an id"));
    let line = "trap 'echo told; sleep 0.2; echo told > told; exit 0' TERM; sleep 600 & \
                setsid sleep 600 & echo begun > begun; while :; do sleep 0.05; done";
    let mut call = call(run, "test", shell(line));
    call.env
        .insert("WHEELHOUSE_TEST_MARK".to_owned(), run.to_string());
    let result = stages_in(directory, Logins::default()).run(call).await;
    panic!("it is killed before: {result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_killed_takes_its_stages_with_it_and_the_next_one_waits_for_that() {
    if let Some(directory) = std::env::var_os(ENGINE) {
        return be_the_engine(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let run = RunId(Uuid::now_v7());
    let tree = tree_in(directory.path(), run);
    std::fs::create_dir_all(&tree).expect("made");
    let mut engine = Command::new(std::env::current_exe().expect("this test's program"))
        .args([
            "killed::an_engine_that_is_killed_takes_its_stages_with_it_and_the_next_one_waits_for_that",
            "--exact",
        ])
        .env(ENGINE, directory.path())
        .env(RUN, run.to_string())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("begun");
    until("the stage began", || tree.join("begun").exists()).await;
    let mark = format!("WHEELHOUSE_TEST_MARK={run}");
    assert!(
        marked(&mark).len() >= 4,
        "the shepherd, the shell and what it began"
    );
    engine.kill().expect("our own child");
    engine.wait().expect("our own child");
    let stages = stages_in(directory.path(), Logins::default());
    let again = stages.run(call(run, "test", shell("cat told"))).await;
    passed(&again);
    assert_eq!(marked(&mark), [0; 0], "nothing is left of the first");
    let page = stages.logs(run, &name("test"), 1, 0).await.expect("kept");
    assert_eq!(page.lines[0].as_str(), "told", "it was asked politely");
}

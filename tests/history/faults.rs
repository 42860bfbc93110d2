//! Full disks, moved files, foreign hands, umasks.

use super::support::{self, Story, holder, open};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use wheelhouse::history::{
    AppendError, History, HistoryError, HistoryReader, Integrity, sentence, verify,
};

/// Tells the child which directory to work in.
const CHILD_DIR: &str = "WHEELHOUSE_TEST_DIR";

/// Runs one test of this binary again in a process of its own, after a line of shell.
fn in_child(test: &str, dir: &Path, shell: &str) -> Output {
    let me = std::env::current_exe().expect("this test's path");
    Command::new("sh")
        .arg("-c")
        .arg(format!(r#"{shell} "$0" --exact "$1" --nocapture"#))
        .arg(me)
        .arg(test)
        .env(CHILD_DIR, dir)
        .output()
        .expect("a child process")
}

fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD_DIR).map(PathBuf::from)
}

fn assert_success(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let ran = text.contains("1 passed");
    assert!(output.status.success() && ran, "{text}\n{errors}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o7777
}

/// Appends refusals until one fails; the failure and how many records are durable.
fn fill(history: &mut History, story: &mut Story) -> AppendError {
    for n in 0..10_000 {
        let records = story.tell((0..20).map(|i| support::refused(n * 20 + i)));
        if let Err(error) = history.append(&records, None) {
            return error;
        }
    }
    panic!("the disk never filled");
}

#[test]
fn fault_131_modes_do_not_depend_on_the_umask() {
    const NAME: &str = "faults::fault_131_modes_do_not_depend_on_the_umask";
    if let Some(dir) = child_dir() {
        let mut opened = open(&dir.join("deep/state"));
        let mut story = Story::default();
        support::write_rollouts(&mut opened.history, &mut story, 1);
        HistoryReader::open(&dir.join("deep/state")).expect("readable");
        // The files beside the database exist only while it is open.
        return check_modes(&dir.join("deep/state"));
    }
    for umask in ["000", "777"] {
        let dir = tempfile::tempdir().expect("a directory");
        let output = in_child(NAME, dir.path(), &format!("umask {umask};"));
        assert_success(&output);
        assert_eq!(mode(&dir.path().join("deep")), 0o700);
    }
}

fn check_modes(dir: &Path) {
    assert_eq!(mode(dir), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().expect("named").to_owned());
    }
    for name in [
        "history.db",
        "history.db-wal",
        "history.db-shm",
        "history.head",
        "history.lock",
    ] {
        assert!(
            names.iter().any(|found| found == name),
            "{name} of {names:?}"
        );
    }
}

#[test]
fn fault_020_a_full_disk_ends_the_handle_and_a_fresh_one_goes_on() {
    const NAME: &str = "faults::fault_020_a_full_disk_ends_the_handle_and_a_fresh_one_goes_on";
    let Some(dir) = child_dir() else {
        let dir = tempfile::tempdir().expect("a directory");
        // No file may grow beyond 400 blocks of 512 bytes (or 1,024, by shell): the kernel itself
        // refuses the write, wherever in a commit it falls.
        assert_success(&in_child(
            NAME,
            dir.path(),
            "trap '' XFSZ; ulimit -S -f 400; exec",
        ));
        return;
    };
    let mut story = Story::default();
    let mut history = open(&dir).history;
    let failed = fill(&mut history, &mut story);
    assert!(matches!(failed, AppendError::Commit(_)), "{failed:?}");
    let durable = history.last_seq();
    assert!(durable > 0 && durable < story.state.seq);

    let files = || ["history.db", "history.db-wal"].map(|name| fs::read(dir.join(name)).ok());
    let before = files();
    let next = Story::after(durable).tell([support::refused(1)]);
    for _ in 0..3 {
        match history.append(&next, None) {
            Err(error @ AppendError::Dead { .. }) => {
                assert!(sentence(&error).as_str().contains("reopened"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(files(), before, "a dead handle touches nothing");

    lift_file_limit();
    assert_eq!(
        history.reopen().expect("reopened"),
        durable,
        "nothing of the failed one"
    );
    history.append(&next, None).expect("it goes on");
    let report = verify(&dir).expect("readable");
    assert_eq!(
        (report.integrity, report.records),
        (Integrity::Whole, durable + 1)
    );
}

fn lift_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .expect("the hard limit is open");
}

#[test]
fn fault_021_a_commit_whose_fsync_failed_does_not_come_back() {
    const NAME: &str = "faults::fault_021_a_commit_whose_fsync_failed_does_not_come_back";
    if let Some(dir) = child_dir() {
        return survive_one_failing_fsync(&dir);
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: there is no strace here");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir
        .path()
        .canonicalize()
        .expect("a path")
        .join("history.db-wal");
    let shell = format!(
        "exec strace -f -qq -o /dev/null -P '{}' -e trace=fsync,fdatasync \
         -e inject=fsync,fdatasync:error=EIO:when=6",
        log.display()
    );
    assert_success(&in_child(NAME, dir.path(), &shell));
}

fn survive_one_failing_fsync(dir: &Path) {
    let mut story = Story::default();
    let mut history = open(dir).history;
    let failed = fill(&mut history, &mut story);
    assert!(matches!(failed, AppendError::Commit(_)), "{failed:?}");
    let durable = history.last_seq();
    assert_eq!(
        history.reopen().expect("reopened"),
        durable,
        "what failed stays failed"
    );
    drop(history);
    let again = open(dir);
    assert_eq!(again.history.last_seq(), durable);
    assert!(!again.torn);
}

#[test]
fn fault_025_a_file_moved_away_is_noticed_before_the_next_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let (db, aside) = (dir.path().join("history.db"), dir.path().join("aside"));
    let mut story = Story::default();
    let mut history = open(dir.path()).history;
    history
        .append(&story.tell([support::refused(1)]), None)
        .expect("appended");
    let next = story.tell([support::refused(2)]);

    fs::rename(&db, &aside).expect("moved");
    assert!(matches!(
        history.append(&next, None),
        Err(AppendError::Moved { .. })
    ));
    assert!(!db.exists());
    assert!(matches!(history.reopen(), Err(HistoryError::Gone { .. })));
    fs::rename(&aside, &db).expect("moved back");
    assert!(matches!(
        history.append(&next, None),
        Err(AppendError::Dead { .. })
    ));
    assert_eq!(history.reopen().expect("reopened"), 1);
    assert_eq!(history.append(&next, None).expect("it goes on"), 2);
}

#[test]
fn fault_025_another_file_in_its_place_is_not_written_to() {
    let (dir, other) = (
        tempfile::tempdir().expect("one"),
        tempfile::tempdir().expect("two"),
    );
    drop(open(other.path()));
    let mut story = Story::default();
    let mut history = open(dir.path()).history;
    history
        .append(&story.tell([support::refused(1)]), None)
        .expect("appended");
    let foreign = fs::read(other.path().join("history.db")).expect("read");
    for name in ["history.db", "history.db-wal", "history.db-shm"] {
        fs::remove_file(dir.path().join(name)).expect("removed");
    }
    fs::write(dir.path().join("history.db"), &foreign).expect("replaced");

    let next = story.tell([support::refused(2)]);
    assert!(matches!(
        history.append(&next, None),
        Err(AppendError::Moved { .. })
    ));
    match history.reopen() {
        Err(HistoryError::Truncated { head: 1, last: 0 }) => {}
        other => panic!("{other:?}"),
    }
    drop(history);
    let after = fs::read(dir.path().join("history.db")).expect("read");
    assert!(after == foreign, "the other file is as it was");
}

#[test]
fn a_history_that_is_gone_is_not_begun_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    let db = dir.path().join("history.db");
    fs::write(&db, "").expect("emptied");
    assert!(matches!(
        History::open(dir.path(), &holder()),
        Err(HistoryError::Gone { .. })
    ));
    fs::remove_file(&db).expect("removed");
    assert!(matches!(
        History::open(dir.path(), &holder()),
        Err(HistoryError::Gone { .. })
    ));
    fs::remove_file(dir.path().join("history.head")).expect("removed");
    open(dir.path());
}

#[test]
fn fault_031_links_and_directories_others_may_write_to_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let unsafe_text = |path: &Path| match History::open(path, &holder()) {
        Err(error @ HistoryError::Unsafe { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let open_dir = dir.path().join("open");
    fs::create_dir(&open_dir).expect("made");
    fs::set_permissions(&open_dir, Permissions::from_mode(0o770)).expect("set");
    assert!(unsafe_text(&open_dir).contains("chmod 0700"));

    let link = dir.path().join("link");
    symlink(dir.path().join("real"), &link).expect("linked");
    fs::create_dir(dir.path().join("real")).expect("made");
    assert!(unsafe_text(&link).contains("not a link"));

    for name in [
        "history.db",
        "history.head",
        "history.lock",
        "history.db-wal",
    ] {
        let state = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("target");
        fs::write(&target, "precious").expect("written");
        symlink(&target, state.path().join(name)).expect("linked");
        assert!(unsafe_text(state.path()).contains("not a link"), "{name}");
        assert_eq!(fs::read(&target).expect("read"), b"precious");
    }

    let linked = tempfile::tempdir().expect("a directory");
    drop(open(linked.path()));
    fs::hard_link(linked.path().join("history.db"), dir.path().join("second")).expect("linked");
    assert!(unsafe_text(linked.path()).contains("hard link"));
}

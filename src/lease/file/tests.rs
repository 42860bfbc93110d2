use super::*;
use tempfile::TempDir;

fn holder(host: &str, boot: &str, engine: &str) -> Holder {
    Holder {
        host: host.into(),
        boot: boot.to_owned(),
        user: "ada".into(),
        engine: engine.to_owned(),
        pid: 7,
        process: None,
        since_ms: 1_700_000_000_000,
    }
}

fn marker(dir: &TempDir) -> PathBuf {
    dir.path().join("state.wheelhouse")
}

fn lease(dir: &TempDir, host: &str, boot: &str, engine: &str) -> FileLease {
    FileLease::new(marker(dir), holder(host, boot, engine))
}

#[test]
fn one_engine_at_a_time_and_the_next_once_it_is_given_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, second) = (lease(&dir, "a", "1", "x"), lease(&dir, "a", "1", "y"));
    assert_eq!(first.check(), Ok(()));
    assert_eq!(first.check(), Ok(()), "again and again");
    let held = second.check().expect_err("held");
    assert_eq!(held, NotOurs::Held(holder("a", "1", "x")));
    assert!(
        held.to_string().contains("the engine of ada on a (pid 7)"),
        "{held}"
    );
    drop(first);
    assert!(!marker(&dir).exists());
    assert_eq!(second.check(), Ok(()));
}

#[test]
fn what_a_dead_engine_or_an_earlier_boot_left_is_free() {
    for left in [
        holder("a", "1", "x"),
        holder("a", "0", "x"),
        holder("b", "1", "x"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let text = serde_json::to_string(&left).expect("JSON");
        fs::write(marker(&dir), text).expect("written");
        let mine = lease(&dir, "a", "1", "y");
        assert_eq!(mine.check(), Ok(()), "{left:?}");
    }
    // So is what nobody can read.
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(marker(&dir), "{torn").expect("written");
    assert_eq!(lease(&dir, "a", "1", "y").check(), Ok(()));
}

#[test]
fn another_machines_marker_holds_until_a_person_passes_it_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let theirs = holder("b", "2", "x");
    fs::write(marker(&dir), serde_json::to_string(&theirs).expect("JSON")).expect("written");
    let mine = lease(&dir, "a", "1", "y");
    assert_eq!(mine.check(), Err(NotOurs::Held(theirs.clone())));
    assert_eq!(mine.take_over().expect("taken"), Some(theirs));
    assert_eq!(mine.check(), Ok(()));
    let left: Vec<_> = dir.path().read_dir().expect("readable").collect();
    assert_eq!(left.len(), 1, "no other file stays: {left:?}");
}

#[test]
fn a_takeover_is_found_out_before_the_next_write_and_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, second) = (lease(&dir, "a", "1", "x"), lease(&dir, "a", "1", "y"));
    assert_eq!(first.check(), Ok(()));
    second.check().expect_err("held");
    assert_eq!(
        second.take_over().expect("taken"),
        Some(holder("a", "1", "x"))
    );
    assert_eq!(first.check(), Err(NotOurs::Lost(holder("a", "1", "y"))));
    drop(second);
    // What it planned is of another time; only a person gives it back.
    assert_eq!(first.check(), Err(NotOurs::Lost(holder("a", "1", "y"))));
    assert_eq!(first.take_over().expect("taken"), None);
    assert_eq!(first.check(), Ok(()));
}

#[test]
fn the_holder_keeps_it_when_its_marker_is_tidied_away_or_out_of_reach() {
    let dir = tempfile::tempdir().expect("a directory");
    let mine = lease(&dir, "a", "1", "x");
    assert_eq!(mine.check(), Ok(()));
    fs::remove_file(marker(&dir)).expect("removed");
    assert_eq!(mine.check(), Ok(()));
    assert!(marker(&dir).exists(), "made anew");
    let gone = dir.path().to_owned();
    fs::remove_dir_all(&gone).expect("removed");
    assert_eq!(mine.check(), Ok(()), "nothing shows that it is another's");
    // Whoever never held it may not act on that.
    let never = FileLease::new(gone.join("m"), holder("a", "1", "z"));
    assert!(matches!(never.check(), Err(NotOurs::Unknown(_))));
}

#[test]
fn a_marker_that_is_a_link_is_not_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let target = dir.path().join("precious");
    fs::write(&target, "precious").expect("written");
    std::os::unix::fs::symlink(&target, marker(&dir)).expect("linked");
    let mine = lease(&dir, "a", "1", "x");
    assert!(matches!(mine.check(), Err(NotOurs::Unknown(_))));
    assert_eq!(fs::read_to_string(&target).expect("readable"), "precious");
}

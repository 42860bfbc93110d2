use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

const HEADER: &str = "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state \
                      srv_uweight srv_iweight srv_check_state srv_port";

fn table(backend: &Name, operation: u8, weight: u16) -> StateTable {
    let text =
        format!("1\n# {HEADER}\n3 {backend} 1 web1 127.0.0.1 {operation} 4 {weight} 1 6 18001\n");
    state_table(&text, backend).expect("a table")
}

fn web() -> Name {
    "web".parse().expect("a name")
}

fn files(directory: &TempDir) -> StateFiles {
    StateFiles::new(directory.path().join("{backend}.state"))
}

fn content(directory: &TempDir) -> String {
    std::fs::read_to_string(directory.path().join("web.state")).expect("a state file")
}

#[tokio::test]
async fn the_file_holds_the_newest_reading_whole_and_readable_to_haproxy() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = files(&directory);
    for weight in [5, 10] {
        let table = table(&web(), 2, weight);
        assert_eq!(files.keep(&web(), &table, files.ticket()).await, Ok(()));
        assert_eq!(content(&directory), table.text);
    }
    let path = directory.path().join("web.state");
    let mode = path.metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let left = std::fs::read_dir(directory.path())
        .expect("a directory")
        .count();
    assert_eq!(left, 1, "no temporary file is left");
}

#[tokio::test]
async fn a_leftover_of_a_crash_is_no_obstacle() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join(".web.state.wheelhouse"), "half").expect("a leftover");
    std::fs::write(
        directory.path().join("web.state"),
        "1\n# be_id be_name\n3 we",
    )
    .expect("a torn file");
    let files = files(&directory);
    let table = table(&web(), 2, 5);
    assert_eq!(files.keep(&web(), &table, files.ticket()).await, Ok(()));
    assert_eq!(content(&directory), table.text);
}

#[tokio::test]
async fn an_older_reading_never_overwrites_a_newer_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = files(&directory);
    let (older, newer) = (files.ticket(), files.ticket());
    let now = table(&web(), 2, 0);
    assert_eq!(files.keep(&web(), &now, newer).await, Ok(()));
    assert_eq!(
        files.keep(&web(), &table(&web(), 2, 50), older).await,
        Ok(())
    );
    assert_eq!(content(&directory), now.text);
}

#[tokio::test]
async fn nothing_is_written_unless_a_start_would_differ() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = files(&directory);
    let first = table(&web(), 2, 5);
    assert_eq!(files.keep(&web(), &first, files.ticket()).await, Ok(()));
    let mut same = first.clone();
    same.text.push_str("# written at another time\n");
    assert_eq!(files.keep(&web(), &same, files.ticket()).await, Ok(()));
    assert_eq!(content(&directory), first.text);
    let down = table(&web(), 0, 5);
    assert_eq!(files.keep(&web(), &down, files.ticket()).await, Ok(()));
    assert_eq!(
        content(&directory),
        down.text,
        "whether it was up is restored too"
    );
}

#[tokio::test]
async fn foreign_files_and_symbolic_links_are_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("web.state");
    let victim = directory.path().join("victim");
    let other: Name = "other".parse().expect("a name");
    let files = files(&directory);
    let keep = async || {
        let error = files
            .keep(&web(), &table(&web(), 2, 5), files.ticket())
            .await;
        error.expect_err("refused").to_string()
    };

    std::fs::write(&victim, "precious").expect("a file");
    symlink(&victim, &path).expect("a link");
    assert!(keep().await.contains("is a symbolic link"));
    assert_eq!(
        std::fs::read_to_string(&victim).expect("the file"),
        "precious"
    );

    std::fs::remove_file(&path).expect("the link");
    std::fs::write(&path, &table(&other, 2, 5).text).expect("a file");
    assert!(
        keep()
            .await
            .contains("holds another backend's servers (other)")
    );

    std::fs::write(&path, "root:x:0:0\n").expect("a file");
    assert!(keep().await.contains("is no state file of HAProxy"));
    assert_eq!(content(&directory), "root:x:0:0\n");

    std::fs::remove_file(&path).expect("the file");
    std::fs::create_dir(&path).expect("a directory");
    assert!(keep().await.contains("is no regular file"));
}

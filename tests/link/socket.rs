//! The socket as a file.

use crate::support::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use wheelhouse::link::{BindError, bind, socket_path};

fn mode(path: &std::path::Path) -> u32 {
    let found = path.symlink_metadata().expect("there");
    found.permissions().mode() & 0o777
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_gone_when_the_engine_is() {
    let dir = private_dir();
    let bound = bind(dir.path()).await.expect("bound");
    assert_eq!(bound.path(), socket_path(dir.path()));
    assert_eq!(mode(bound.path()), 0o600);
    drop(bound);
    assert!(!socket_path(dir.path()).exists());
}

#[tokio::test]
async fn the_socket_of_a_dead_engine_is_replaced_and_a_live_one_is_refused() {
    let dir = private_dir();
    // The standard listener leaves its file behind, as a killed process does.
    drop(UnixListener::bind(socket_path(dir.path())).expect("bound"));
    let bound = bind(dir.path()).await.expect("the stale one is replaced");
    let second = bind(dir.path()).await.expect_err("the live one is refused");
    assert!(matches!(second, BindError::InUse { .. }), "{second}");
    let engine = Engine::on(bound, options(limits()));
    engine.serves_others().await;
    let third = bind(dir.path()).await.expect_err("still refused");
    assert!(third.to_string().contains("engine stop"), "{third}");
    engine.serves_others().await;
    engine.stop().await;
}

#[tokio::test]
async fn an_engine_that_ends_leaves_the_socket_of_its_successor() {
    let dir = private_dir();
    let first = bind(dir.path()).await.expect("bound");
    std::fs::remove_file(first.path()).expect("removed");
    let second = bind(dir.path()).await.expect("bound");
    drop(first);
    assert!(second.path().exists());
}

#[tokio::test]
async fn no_link_is_followed_and_no_file_is_replaced() {
    let dir = private_dir();
    let elsewhere = private_dir();
    let path = socket_path(dir.path());

    let target = elsewhere.path().join("target.sock");
    let _listener = UnixListener::bind(&target).expect("bound");
    symlink(&target, &path).expect("linked");
    let error = bind(dir.path()).await.expect_err("a link is refused");
    assert!(matches!(error, BindError::NoSocket { .. }), "{error}");
    assert!(path.is_symlink() && target.exists(), "left alone");
    std::fs::remove_file(&path).expect("removed");

    std::fs::write(&path, "precious").expect("written");
    let error = bind(dir.path()).await.expect_err("a file is refused");
    assert!(matches!(error, BindError::NoSocket { .. }), "{error}");
    assert_eq!(std::fs::read(&path).expect("there"), b"precious");

    let way = elsewhere.path().join("way");
    symlink(dir.path(), &way).expect("linked");
    let error = bind(&way).await.expect_err("a linked directory is refused");
    assert!(matches!(error, BindError::UnsafeDir { .. }), "{error}");
}

#[tokio::test]
async fn a_directory_others_can_write_to_is_refused_with_its_mode() {
    let dir = private_dir();
    let open = std::fs::Permissions::from_mode(0o770);
    std::fs::set_permissions(dir.path(), open).expect("set");
    let error = bind(dir.path()).await.expect_err("refused");
    assert!(error.to_string().contains("mode 0770"), "{error}");
}

#[tokio::test]
async fn a_path_the_kernel_cannot_take_is_refused_in_words() {
    let dir = private_dir();
    let deep = dir.path().join("d".repeat(120));
    let error = bind(&deep).await.expect_err("refused");
    assert!(matches!(error, BindError::PathTooLong { .. }), "{error}");
}

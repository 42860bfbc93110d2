//! The host's death and return.

use crate::contract::eventually;
use crate::harness::*;
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use wheelhouse::model::world::Admin;
use wheelhouse::ports::{Balancer, Runtime};

#[tokio::test]
async fn a_killed_host_returns_with_the_same_set_and_the_same_weights() {
    let mut host = HostProcess::start().await;
    let shop = Shop::open(&host, &["1.0", "2.0"], &[]).await;
    shop.weights(&[Some(90), Some(10)]).await;
    let mut before = shop.runtime.read(&placement()).await.expect("readable");

    host.crash_and_return().await;

    let mut after = shop.runtime.read(&placement()).await.expect("readable");
    assert_ne!(before.epoch, after.epoch, "another process");
    for (server, old) in &mut before.instances {
        let new = after.instances.get_mut(server).expect("started again");
        assert!(!is_alive(old.pid), "the leftover of {server} was ended");
        assert!(is_alive(new.pid));
        (old.pid, old.started_ms, new.pid, new.started_ms) = (0, 0, 0, 0);
    }
    assert_eq!(before.instances, after.instances);
    let weights = [shop.server(0).await.weight, shop.server(1).await.weight];
    assert_eq!(weights, [90, 10]);
    for server in &shop.servers {
        answers(server.address).await;
    }
    eventually("requests are answered as before", || async {
        let answer = client().get(shop.url("/")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_that_had_crashed_is_not_started_by_the_next_host() {
    let mut host = HostProcess::start().await;
    let runtime = host.runtime();
    must_start(
        &runtime,
        start("web1", free_address(), &["sh", "-c", "exit 3"]),
    )
    .await;
    let why = eventually("it ended", || async {
        view(&runtime, "web1").await?.exited
    })
    .await;
    host.crash_and_return().await;
    let after = view(&runtime, "web1").await.expect("still known");
    assert_eq!((after.pid, after.exited), (0, Some(why)));
}

#[tokio::test]
async fn an_orderly_stop_ends_the_instances_and_is_remembered_only_if_asked() {
    for (arguments, expected) in [(&[] as &[&str], 0), (&["--keep-set"], 1)] {
        let mut host = HostProcess::start_with(arguments).await;
        let runtime = host.runtime();
        must_start(&runtime, start("web1", free_address(), &["sleep", "1000"])).await;
        let pid = view(&runtime, "web1").await.expect("there").pid;
        host.stop().await;
        assert!(!is_alive(pid));
        assert!(!host.socket().exists(), "the socket is gone");
        host.start_again().await;
        let after = runtime.read(&placement()).await.expect("readable");
        let running = after
            .instances
            .values()
            .filter(|view| view.pid != 0)
            .count();
        assert_eq!(running, expected);
    }
}

#[tokio::test]
async fn a_second_host_is_refused_with_the_pid_of_the_first() {
    let host = HostProcess::start().await;
    let pid = format!("pid {}", host.pid());
    let said = refused_on(host.dir());
    assert!(said.contains(&pid), "{said}");
    assert!(host.status().await.is_some(), "the first one still answers");
}

#[tokio::test]
async fn a_socket_on_which_somebody_listens_is_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("host.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let said = refused_on(dir.path());
    let pid = format!("pid {}", std::process::id());
    assert!(said.contains(&pid), "{said}");
    std::os::unix::net::UnixStream::connect(&socket).expect("still the same socket");
}

/// What a host says that may not begin there.
fn refused_on(dir: &std::path::Path) -> String {
    let output = Command::new(PROGRAM)
        .args(["host", "--state-dir"])
        .arg(dir)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(73));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn nobody_else_may_read_the_hosts_files_or_use_its_socket() {
    let host = HostProcess::start().await;
    let shop = Shop::open(&host, &["1.0"], &[]).await;
    shop.weights(&[Some(1)]).await;
    let mode = |path: &std::path::Path| {
        path.symlink_metadata().expect("there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&host.socket()), 0o600);
    let mut dirs = vec![host.state_dir()];
    while let Some(dir) = dirs.pop() {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        for entry in std::fs::read_dir(&dir).expect("readable") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn a_stop_signal_lets_requests_under_way_end() {
    let mut host = HostProcess::start().await;
    let shop = Shop::open(&host, &["1.0"], &["--latency-ms", "700"]).await;
    shop.weights(&[Some(1)]).await;
    let url = shop.url("/");
    let request = tokio::spawn(async move { client().get(url).send().await });
    eventually("the request is under way", || async {
        (shop.server(0).await.sessions == 1).then_some(())
    })
    .await;
    host.stop().await;
    let answer = request.await.expect("no panic").expect("answered");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_host_that_is_frozen_is_not_taken_for_one_that_refused() {
    let host = HostProcess::start().await;
    let shop = Shop::declare(&host, 2);
    shop.weights(&[Some(1), Some(1)]).await;
    signal(host.pid(), Signal::STOP);
    let settings = [(
        shop.servers[0].name.clone(),
        wheelhouse::model::ServerSetting::OUT,
    )];
    let written = shop.balancer.write(&shop.backend, &settings).await;
    let is_unknown = matches!(written.outcome, wheelhouse::model::Outcome::Unknown { .. });
    signal(host.pid(), Signal::CONT);
    assert!(is_unknown, "{:?}", written.outcome);
    // Whether it arrived late or was dropped with its connection, nobody knows: it is written anew.
    eventually("a write that is seen", || async {
        shop.balancer.write(&shop.backend, &settings).await;
        (shop.server(0).await.admin == Admin::Maintenance).then_some(())
    })
    .await;
}

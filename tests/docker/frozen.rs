//! A daemon that freezes, ends and comes back.

use crate::contract;
use crate::daemon::PrivateDaemon;
use crate::support::{IMAGE, Shop, available, import};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use wheelhouse::model::Outcome;
use wheelhouse::ports::{Runtime, Start};

/// On the daemon's own network, where not even the loopback device is up.
fn demo(shop: &Shop, server: &str) -> Start {
    let mut start = shop.demo(server, &[]);
    let container = start.workload.container.as_mut().expect("one");
    container.port = None;
    let command = [
        "demo-service",
        "--version",
        "v1",
        "--address",
        "0.0.0.0:{port}",
    ];
    container.shape.command = Some(command.map(str::to_owned).to_vec());
    start
}

fn shop(daemon: &PrivateDaemon) -> Shop {
    import(Some(&daemon.host()), IMAGE);
    Shop::at(&daemon.socket(), Some(daemon.host()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_52_a_frozen_daemon_costs_a_deadline_and_nothing_else() {
    if !available() {
        return;
    }
    let daemon = PrivateDaemon::begin();
    let shop = shop(&daemon);
    let start = demo(&shop, "web1");
    shop.must_start(&start).await;
    daemon.signal(Signal::STOP);
    let began = Instant::now();
    let error = shop.runtime.read(&shop.placement).await;
    assert!(
        began.elapsed() < Duration::from_millis(2_000),
        "{:?}",
        began.elapsed()
    );
    let text = error.expect_err("frozen").to_string();
    assert!(
        text.contains("docker") && text.contains("no answer"),
        "{text}"
    );
    let began = Instant::now();
    let written = shop.runtime.start(demo(&shop, "web2")).await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(
        matches!(written.outcome, Outcome::Unknown { .. }),
        "unknown is not failed: {:?}",
        written.outcome
    );
    daemon.signal(Signal::CONT);
    let view = contract::eventually("it answers again", || async {
        let reading = shop.runtime.read(&shop.placement).await.ok()?;
        reading.instances.get(&start.server).cloned()
    });
    assert_eq!(view.await.exited, None, "nothing happened to it meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_53_a_restarted_daemon_runs_stable_again_and_no_canary() {
    if !available() {
        return;
    }
    let mut daemon = PrivateDaemon::begin();
    let shop = shop(&daemon);
    let canary = demo(&shop, "web1");
    let stable = demo(&shop, "web2");
    // As the engine does once a release is verified: begun as a canary, then kept running.
    shop.must_start(&canary).await;
    shop.must_start(&stable).await;
    let kept = Start {
        keep_running: true,
        ..stable.clone()
    };
    let first = shop.must_start(&kept).await;
    let before = shop.runtime.read(&shop.placement).await.expect("readable");
    daemon.stop();
    assert!(shop.runtime.read(&shop.placement).await.is_err());
    daemon.start();
    let again = contract::eventually("stable runs again", || async {
        let view = shop.view(&stable.server).await?;
        (view.pid != 0).then_some(view)
    })
    .await;
    assert_ne!(again.pid, first.pid);
    assert!(again.keep_running);
    let gone = shop.view(&canary.server).await.expect("there");
    assert_eq!(gone.pid, 0, "a canary is not started by a daemon");
    assert!(gone.exited.is_some());
    let after = shop.runtime.read(&shop.placement).await.expect("readable");
    assert_ne!(before.epoch, after.epoch, "another process answers");
}

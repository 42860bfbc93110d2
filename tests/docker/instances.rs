//! Instances as containers: the port's promises, deaths, restarts, evidence, figures, output.

use crate::contract;
use crate::support::{IMAGE, PORT, SOCKET, Shop, available, docker, runtime_at};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::{Duration, Instant};
use uuid::Uuid;
use wheelhouse::model::service::{CheckKind, HealthCheck, HttpCheck, QuietSignal};
use wheelhouse::model::{Outcome, ReleaseId};
use wheelhouse::ports::{Probe, Quiet, Runtime, Start, Stop};
use wheelhouse::probe::InstanceProbe;
use wheelhouse::runtime::docker::DockerRuntime;

#[tokio::test]
async fn docker_keeps_the_word_of_a_runtime() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let talks = shop.demo("web1", &[]);
    let fails = shop.demo("web2", &["--crash-after-ms", "100"]);
    contract::runtime::keeps_its_word(&shop.runtime, talks, fails).await;
}

#[tokio::test]
async fn a_daemon_that_is_not_there_changes_nothing() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let runtime = runtime_at(Path::new("/nonexistent/docker.sock"));
    contract::runtime::knows_that_nobody_is_there(&runtime, shop.demo("web1", &[])).await;
}

fn health() -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Http(HttpCheck::get("/healthz")),
        interval_ms: 1_000,
        timeout_ms: 500,
        successes: 1,
        failures: 1,
        start_timeout_ms: 10_000,
    }
}

async fn answers(start: &Start) {
    let probe = InstanceProbe::new();
    contract::eventually("the instance answers", || async {
        probe
            .probe(&start.server, start.address, &health())
            .await
            .ok()
    })
    .await;
}

#[tokio::test]
async fn a_worker_is_told_and_not_started_again_when_it_is_done() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let start = Start {
        keep_running: true,
        ..shop.demo("web1", &[])
    };
    let begun = shop.must_start(&start).await;
    answers(&start).await;
    let tell = async |runtime: &DockerRuntime, signal| {
        let told = runtime.quiet(Quiet {
            placement: shop.placement.clone(),
            server: start.server.clone(),
            signal,
        });
        assert_eq!(told.await.outcome, Outcome::Applied);
    };
    // It does nothing about this one, and runs on.
    tell(&shop.runtime, QuietSignal::Winch).await;
    let view = shop.view(&start.server).await.expect("it runs");
    assert!(view.quiet && !view.keep_running && view.exited.is_none());
    assert_eq!(view.pid, begun.pid);
    // It was told, so this signal, which would end it, is not sent.
    tell(&shop.runtime, QuietSignal::Term).await;
    answers(&start).await;
    // A second engine does not know; and done is done, although it was kept running.
    let second = runtime_at(Path::new(SOCKET));
    tell(&second, QuietSignal::Term).await;
    let why = shop.ended(&start.server).await;
    assert!(why.contains("exit status 0"), "{why}");
    let view = shop.view(&start.server).await.expect("still there");
    assert_eq!(view.restarts, 0);
}

fn next_release(start: &Start) -> Start {
    Start {
        release: ReleaseId(Uuid::now_v7()),
        id: start.id + 1,
        ..start.clone()
    }
}

#[tokio::test]
async fn an_instance_is_published_at_its_servers_address_and_known_by_its_labels() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let start = shop.demo("web1", &[]);
    let view = shop.must_start(&start).await;
    answers(&start).await;
    let identity = view.identity.expect("a container's id").into_string();
    let format = "{{json .Config.Labels}} {{json .HostConfig.PortBindings}} {{.HostConfig.RestartPolicy.Name}}";
    let said = docker(&["inspect", "-f", format, &identity]);
    for part in [
        start.release.to_string(),
        format!("\"wheelhouse.service\":\"{}\"", shop.placement.service),
        format!("\"HostPort\":\"{}\"", start.address.port()),
        format!("{PORT}/tcp"),
    ] {
        assert!(said.contains(&part), "{part} in {said}");
    }
    assert!(
        said.ends_with(" no"),
        "a canary that exits has failed: {said}"
    );
}

#[tokio::test]
async fn fault_058_an_exit_after_healthy_is_told_and_kept_as_evidence() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let start = shop.demo("web1", &["--crash-after-ms", "700"]);
    shop.must_start(&start).await;
    answers(&start).await;
    let why = shop.ended(&start.server).await;
    assert!(why.contains("exit status"), "{why}");
    let stopped = shop
        .runtime
        .stop(Stop::of(&shop.placement, &start.server, 500))
        .await;
    assert_eq!(stopped.outcome, Outcome::Applied);
    assert_eq!(
        shop.view(&start.server).await,
        None,
        "it is behind no server"
    );
    let kept = shop.containers();
    assert_eq!(kept.len(), 1, "stopped, not removed");
    let said = docker(&[
        "inspect",
        "-f",
        "{{.Name}} {{.State.ExitCode}} {{.State.Running}}",
        &kept[0],
    ]);
    assert!(
        said.contains("wheelhouse-failed-") && said.ends_with("false"),
        "{said}"
    );
    assert!(!said.contains(" 0 "), "with its exit code: {said}");
    // The server is free for the next release meanwhile.
    let next = Start {
        workload: shop.demo("web1", &[]).workload,
        ..next_release(&start)
    };
    shop.must_start(&next).await;
    answers(&next).await;
    let stopped = shop
        .runtime
        .stop(Stop::of(&shop.placement, &next.server, 2_000))
        .await;
    assert_eq!(stopped.outcome, Outcome::Applied);
    assert_eq!(shop.containers(), kept, "what did not fail is removed");
}

#[tokio::test]
async fn what_failed_and_still_runs_is_stopped_and_kept_and_can_be_read_after_that() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let start = shop.demo("web1", &[]);
    shop.must_start(&start).await;
    answers(&start).await;
    let stopped = shop
        .runtime
        .stop(Stop {
            failed: true,
            ..Stop::of(&shop.placement, &start.server, 2_000)
        })
        .await;
    assert_eq!(stopped.outcome, Outcome::Applied);
    assert_eq!(shop.view(&start.server).await, None);
    let kept = shop.containers();
    assert_eq!(kept.len(), 1, "stopped, not removed");
    let said = docker(&["inspect", "-f", "{{.Name}} {{.State.Running}}", &kept[0]]);
    assert!(
        said.contains("wheelhouse-failed-") && said.ends_with("false"),
        "{said}"
    );
    let left = shop
        .runtime
        .evidence(&shop.placement, &start.server, start.release)
        .await;
    let left = left.expect("readable").expect("it is kept");
    assert_eq!(left.image, Some(IMAGE.into()));
    assert!(left.exit_code.is_some() && left.ended.is_some(), "{left:?}");
    assert!(left.finished_ms >= left.started_ms, "{left:?}");
    let said = |words: &str| left.log.iter().any(|line| line.as_str().contains(words));
    assert!(said("listens on"), "its output is there: {left:?}");
    let text = serde_json::to_string(&left).expect("JSON");
    assert!(
        !text.contains("MADE_BY"),
        "nothing of its environment: {text}"
    );
}

#[tokio::test]
async fn a_limit_of_memory_is_set_and_read() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let mut start = shop.demo("web1", &[]);
    let container = start.workload.container.as_mut().expect("one");
    container.shape.memory_bytes = Some(64 << 20);
    shop.must_start(&start).await;
    let limit = contract::eventually("the limit is seen", || async {
        shop.view(&start.server).await?.memory_limit_bytes
    });
    assert_eq!(limit.await, 64 << 20);
    let said = docker(&[
        "inspect",
        "-f",
        "{{.HostConfig.Memory}}",
        &shop.containers()[0],
    ]);
    assert_eq!(said, (64 << 20).to_string());
}

#[tokio::test]
async fn fault_059_a_crash_loop_shows_in_its_restarts() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let start = Start {
        keep_running: true,
        ..shop.demo("web1", &["--crash-after-ms", "100"])
    };
    let first = shop.must_start(&start).await;
    let later = contract::eventually("it was started again twice", || async {
        let view = shop.view(&start.server).await?;
        (view.restarts >= 2).then_some(view)
    })
    .await;
    assert!(later.started_ms > first.started_ms);
    assert!(later.keep_running);
    let stopped = shop
        .runtime
        .stop(Stop::of(&shop.placement, &start.server, 500))
        .await;
    assert_eq!(stopped.outcome, Outcome::Applied);
    let kept = shop.containers();
    let policy = docker(&[
        "inspect",
        "-f",
        "{{.HostConfig.RestartPolicy.Name}}",
        &kept[0],
    ]);
    assert_eq!(policy, "no", "evidence is not started again");
}

#[tokio::test]
async fn fault_060_a_hanging_instance_fails_its_probe_although_docker_holds_it_for_running() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let start = shop.demo("web1", &[]);
    let view = shop.must_start(&start).await;
    answers(&start).await;
    let pid = Pid::from_raw(view.pid.try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::STOP).expect("stopped");
    let probe = InstanceProbe::new();
    let probed = probe.probe(&start.server, start.address, &health()).await;
    assert!(probed.is_err(), "it hangs");
    let still = shop.view(&start.server).await.expect("there");
    assert_eq!(still.exited, None, "Docker holds it for running");
}

#[tokio::test]
async fn fault_064_what_takes_no_stop_signal_is_killed_after_the_grace() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let start = shop.demo("web1", &[]);
    let view = shop.must_start(&start).await;
    answers(&start).await;
    let pid = Pid::from_raw(view.pid.try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::STOP).expect("stopped");
    let began = Instant::now();
    let stopped = shop
        .runtime
        .stop(Stop::of(&shop.placement, &start.server, 1_000))
        .await;
    assert_eq!(stopped.outcome, Outcome::Applied);
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(shop.view(&start.server).await, None);
}

#[tokio::test]
async fn figures_of_memory_and_processor_are_read_beside_the_readings() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let start = shop.demo("web1", &[]);
    shop.must_start(&start).await;
    let view = contract::eventually("two looks were taken", || async {
        let view = shop.view(&start.server).await?;
        view.cpu_percent.is_some().then_some(view)
    })
    .await;
    let memory = view.memory_bytes.expect("read");
    assert!((1 << 20..1 << 30).contains(&memory), "{memory}");
    assert!(view.cpu_percent.expect("read") < 150.0);
    assert_eq!(view.memory_limit_bytes, None, "it has none");
    let began = Instant::now();
    shop.view(&start.server).await;
    assert!(
        began.elapsed() < Duration::from_millis(1_500),
        "no reading waits for them"
    );
}

/// A shell of this machine that keeps one processor busy.
fn burns(start: &mut Start) {
    let container = start.workload.container.as_mut().expect("one");
    let shape = &mut container.shape;
    let there = ["/bin", "/lib", "/lib64", "/usr"].into_iter();
    let there = there.filter(|path| Path::new(path).is_dir());
    shape.volumes = Some(there.map(|path| format!("{path}:{path}:ro")).collect());
    shape.entrypoint = Some(vec!["/bin/sh".to_owned()]);
    let endless = ["-c", "while :; do :; done"];
    shape.command = Some(endless.map(str::to_owned).to_vec());
}

async fn cpu_percent(shop: &Shop, start: &Start, wanted: impl Fn(f64) -> bool) -> f64 {
    contract::eventually("the processor time is as wanted", || async {
        let view = shop.view(&start.server).await?;
        view.cpu_percent.filter(|percent| wanted(*percent))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processor_time_is_told_against_what_the_instance_may_use() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let mut limited = shop.demo("web1", &[]);
    burns(&mut limited);
    let container = limited.workload.container.as_mut().expect("one");
    container.shape.cpu_milli = Some(200);
    shop.must_start(&limited).await;
    // A fifth of one processor is all it may use: it comes near to that, and not far over it.
    let percent = cpu_percent(&shop, &limited, |percent| percent > 50.0).await;
    assert!(percent < 200.0, "{percent} %");
    let stopped = shop
        .runtime
        .stop(Stop::of(&shop.placement, &limited.server, 0))
        .await;
    assert_eq!(stopped.outcome, Outcome::Applied);
    let mut free = shop.demo("web2", &[]);
    burns(&mut free);
    shop.must_start(&free).await;
    let percent = cpu_percent(&shop, &free, |percent| percent > 0.0).await;
    let processors: f64 = docker(&["info", "-f", "{{.NCPU}}"])
        .parse()
        .expect("a number");
    assert!(
        percent < 100.0 / processors * 1.5,
        "{percent} % of {processors} processors"
    );
}

#[tokio::test]
async fn a_log_driver_that_keeps_nothing_is_said_honestly() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let mut start = shop.demo("web1", &[]);
    let container = start.workload.container.as_mut().expect("one");
    container.shape.log_driver = Some("none".to_owned());
    shop.must_start(&start).await;
    let page = shop.runtime.logs(&shop.placement, &start.server, 0).await;
    let error = page.expect_err("nothing is kept").to_string();
    assert!(error.contains("logging driver"), "{error}");
}

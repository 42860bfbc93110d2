//! Other people's containers: never touched, never taken for ours, and named where they are in
//! the way; and answers of the daemon that get lost.

use crate::daemon::DroppingProxy;
use crate::support::{
    IMAGE, PORT, SOCKET, Shop, available, docker, inspected, name_of, runtime_at,
};
use std::path::Path;
use wheelhouse::model::Outcome;
use wheelhouse::ports::{Runtime, Stop};

const SERVICE: [&str; 5] = [
    "demo-service",
    "--version",
    "v9",
    "--address",
    "0.0.0.0:8080",
];

fn refused(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Rejected { why } => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn fault_062_a_lost_reply_to_a_creation_makes_one_container() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let proxy = DroppingProxy::before(Path::new(SOCKET), "POST", "/containers/create");
    let runtime = runtime_at(proxy.socket());
    let start = shop.demo("web1", &[]);
    let written = runtime.start(start.clone()).await;
    assert_eq!(proxy.dropped(), 1, "the reply was lost");
    assert_eq!(written.outcome, Outcome::Applied, "found by its labels");
    assert_eq!(shop.containers().len(), 1);
    let again = shop.must_start(&start).await;
    assert_ne!(again.pid, 0);
    assert_eq!(shop.containers().len(), 1);
}

#[tokio::test]
async fn fault_062_a_lost_reply_to_a_start_is_settled_by_reading() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let proxy = DroppingProxy::before(Path::new(SOCKET), "POST", "/start");
    let runtime = runtime_at(proxy.socket());
    let start = shop.demo("web1", &[]);
    let written = runtime.start(start.clone()).await;
    assert_eq!(proxy.dropped(), 1);
    assert_eq!(written.outcome, Outcome::Applied, "the read-back decides");
    assert_eq!(shop.containers().len(), 1);
}

#[tokio::test]
async fn fault_063_a_foreign_container_with_our_name_is_never_touched() {
    if !available() {
        return;
    }
    let mut shop = Shop::open();
    let start = shop.demo("web1", &[]);
    let name = name_of(&start);
    let arguments: Vec<&str> = [IMAGE].into_iter().chain(SERVICE).collect();
    shop.foreign(&name, &arguments);
    let before = inspected(&name);
    let written = shop.runtime.start(start.clone()).await;
    let why = refused(&written.outcome);
    assert!(why.contains(&name) && why.contains("not ours"), "{why}");
    let view = shop.view(&start.server).await.expect("told");
    assert!(
        view.exited.is_some(),
        "the rollout fails before any traffic"
    );
    let stopped = shop
        .runtime
        .stop(Stop::of(&shop.placement, &start.server, 100))
        .await;
    assert_eq!(stopped.outcome, Outcome::Applied);
    assert_eq!(shop.view(&start.server).await, None);
    assert_eq!(inspected(&name), before, "bit by bit");
}

#[tokio::test]
async fn fault_061_a_port_in_use_is_named_with_who_has_it() {
    if !available() {
        return;
    }
    let mut shop = Shop::open();
    let start = shop.demo("web1", &[]);
    let name = format!("foreign-{}", shop.placement.service);
    let publish = format!("{}:{PORT}", start.address);
    let mut arguments = vec!["-p", &publish, IMAGE];
    arguments.extend(SERVICE);
    shop.foreign(&name, &arguments);
    let before = inspected(&name);
    let written = shop.runtime.start(start.clone()).await;
    let why = refused(&written.outcome);
    assert!(why.contains(&name), "{why}");
    assert_eq!(
        shop.containers(),
        Vec::<String>::new(),
        "ours held nothing and is gone"
    );
    assert_eq!(inspected(&name), before);
}

#[tokio::test]
async fn fault_061_a_container_of_another_release_is_not_adopted() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let start = shop.demo("web1", &[]);
    let first = shop.must_start(&start).await;
    let other = wheelhouse::ports::Start {
        release: wheelhouse::model::ReleaseId(uuid::Uuid::now_v7()),
        ..start.clone()
    };
    let why = refused(&shop.runtime.start(other).await.outcome);
    assert!(why.contains("another release"), "{why}");
    let view = shop.view(&start.server).await.expect("there");
    assert_eq!((view.release, view.pid), (first.release, first.pid));
}

/// An instance on the host's network that listens elsewhere, and another container at its port.
#[tokio::test]
async fn a_server_whose_address_leads_to_another_container_does_not_run() {
    if !available() {
        return;
    }
    let mut shop = Shop::open();
    let mut start = shop.demo("web1", &[]);
    let elsewhere = crate::support::free_address().to_string();
    let container = start.workload.container.as_mut().expect("one");
    container.port = None;
    let command = ["demo-service", "--version", "v1", "--address", &elsewhere];
    container.shape.command = Some(command.iter().map(ToString::to_string).collect());
    let view = shop.must_start(&start).await;
    assert_eq!(view.exited, None);
    let name = format!("foreign-{}", shop.placement.service);
    let publish = format!("{}:{PORT}", start.address);
    let mut arguments = vec!["-p", &publish, IMAGE];
    arguments.extend(SERVICE);
    shop.foreign(&name, &arguments);
    let view = shop.view(&start.server).await.expect("there");
    let why = view
        .exited
        .expect("its traffic would go elsewhere")
        .into_string();
    assert!(
        why.contains(&name) && why.contains(&start.address.to_string()),
        "{why}"
    );
}

/// As `docker compose up` by hand would: the same labels, another port.
#[tokio::test]
async fn an_instance_that_is_published_elsewhere_does_not_run_there() {
    if !available() {
        return;
    }
    let mut shop = Shop::open();
    let start = shop.demo("web1", &[]);
    let labels = [
        ("service", shop.placement.service.to_string()),
        ("environment", shop.placement.environment.to_string()),
        ("server", start.server.to_string()),
        ("release", start.release.to_string()),
        ("address", start.address.to_string()),
    ];
    let labels = labels.map(|(name, value)| format!("wheelhouse.{name}={value}"));
    let publish = format!("{}:{PORT}", crate::support::free_address());
    let mut arguments = vec!["-p", &publish];
    arguments.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
    arguments.push(IMAGE);
    arguments.extend(SERVICE);
    let name = format!("foreign-{}", shop.placement.service);
    shop.foreign(&name, &arguments);
    let view = shop.view(&start.server).await.expect("ours by its labels");
    let why = view.exited.expect("published elsewhere").into_string();
    assert!(why.contains("instead of"), "{why}");
}

#[tokio::test]
async fn containers_of_others_are_the_same_after_a_whole_life_of_ours() {
    if !available() {
        return;
    }
    let mut shop = Shop::open();
    let name = format!("foreign-{}", shop.placement.service);
    let arguments: Vec<&str> = [IMAGE].into_iter().chain(SERVICE).collect();
    shop.foreign(&name, &arguments);
    let created = format!("created-{}", shop.placement.service);
    docker(&["create", "--name", &created, IMAGE, "demo-service"]);
    shop.removes(&created);
    let before = (inspected(&name), inspected(&created));
    let start = shop.demo("web1", &[]);
    shop.must_start(&start).await;
    let kept = wheelhouse::ports::Start {
        keep_running: true,
        ..start.clone()
    };
    shop.must_start(&kept).await;
    let stopped = shop
        .runtime
        .stop(Stop::of(&shop.placement, &start.server, 2_000))
        .await;
    assert_eq!(stopped.outcome, Outcome::Applied);
    assert_eq!((inspected(&name), inspected(&created)), before);
}

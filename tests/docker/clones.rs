//! A shape taken from somebody's container, and what a release changes.

use crate::support::{IMAGE, Shop, available, docker, inspected};
use wheelhouse::model::container::{Container, Pin, Shape};
use wheelhouse::model::service::Workload;
use wheelhouse::model::world::InstanceView;
use wheelhouse::model::{Clean, ServerName};
use wheelhouse::ports::{NOTE, Runtime, Start};

/// A container as somebody began it by hand.
fn original(shop: &mut Shop) -> String {
    let name = format!("original-{}", shop.placement.service);
    let arguments = [
        "-e",
        "TOKEN=hunter2",
        "-e",
        "MODE=live",
        "-m",
        "256m",
        "--cpus",
        "0.5",
        "--user",
        "1000",
        "--cap-drop",
        "ALL",
        "--label",
        "team=shop",
        "--label",
        "com.docker.compose.project=old",
        "--ulimit",
        "nofile=1024:2048",
        "--add-host",
        "database:10.0.0.5",
        "--tmpfs",
        "/scratch:size=1m",
        IMAGE,
        "demo-service",
        "--version",
        "v0",
        "--address",
        "0.0.0.0:8080",
    ];
    shop.foreign(&name, &arguments);
    name
}

fn cloning(shop: &Shop, source: &str) -> Start {
    let mut start = shop.demo("web1", &[]);
    let container = start.workload.container.as_mut().expect("one");
    container.clone = Some(source.to_owned());
    container.shape.memory_bytes = Some(128 << 20);
    start
}

async fn pinned(shop: &Shop, workload: &Workload) -> (Container, Vec<Clean>) {
    let server: ServerName = "web1".parse().expect("a name");
    let servers = [(server, crate::support::free_address())];
    let look = shop
        .runtime
        .inspect(&shop.placement, workload, &servers)
        .await
        .expect("readable");
    let unfit: Vec<_> = look
        .lines
        .iter()
        .filter(|line| !line.as_str().starts_with(NOTE))
        .collect();
    assert!(unfit.is_empty(), "{unfit:?}");
    (look.pinned.expect("found"), look.lines)
}

fn id(view: InstanceView) -> String {
    view.identity.expect("a container's id").into_string()
}

#[tokio::test]
async fn a_clone_takes_the_shape_without_the_images_own_and_written_keys_win() {
    if !available() {
        return;
    }
    let mut shop = Shop::open();
    let source = original(&mut shop);
    let before = inspected(&source);
    let mut start = cloning(&shop, &source);
    let (container, _) = pinned(&shop, &start.workload).await;
    assert!(
        matches!(container.pin, Some(Pin::HostImage(_))),
        "{:?}",
        container.pin
    );
    assert_eq!(
        container.clone_env,
        ["MODE", "TOKEN"],
        "not what the image says itself"
    );
    let recorded = serde_json::to_string(&container).expect("JSON");
    assert!(!recorded.contains("hunter2"), "no value is recorded");
    start.workload.container = Some(Box::new(container));
    let made = id(shop.must_start(&start).await);
    let format = "{{json .Config.Env}} {{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} \
                  {{.Config.User}} {{json .HostConfig.CapDrop}} {{json .Config.Labels}} \
                  {{json .HostConfig.Ulimits}} {{json .HostConfig.ExtraHosts}} {{json .HostConfig.Tmpfs}}";
    let said = docker(&["inspect", "-f", format, &made]);
    for part in [
        "TOKEN=hunter2",
        "MODE=live",
        "134217728 500000000 1000 [\"ALL\"]",
        "\"team\":\"shop\"",
        "\"Soft\":1024",
        "database:10.0.0.5",
        "/scratch",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(
        !said.contains("compose"),
        "compose must not take it for its own: {said}"
    );
    assert_eq!(inspected(&source), before);
}

#[tokio::test]
async fn a_clone_that_is_gone_is_said_before_the_rollout_and_at_the_start() {
    if !available() {
        return;
    }
    let mut shop = Shop::open();
    let source = original(&mut shop);
    let mut start = cloning(&shop, &source);
    let (container, _) = pinned(&shop, &start.workload).await;
    docker(&["rm", "-f", &source]);
    let look = shop
        .runtime
        .inspect(&shop.placement, &start.workload, &[])
        .await
        .expect("readable");
    let said = |line: &Clean| line.as_str().contains(&source) && !line.as_str().starts_with(NOTE);
    assert!(look.lines.iter().any(said), "{:?}", look.lines);
    start.workload.container = Some(Box::new(container));
    let written = shop.runtime.start(start).await;
    let text = format!("{:?}", written.outcome);
    assert!(text.contains(&source) && text.contains("is gone"), "{text}");
    assert!(!text.contains("hunter2"));
}

#[tokio::test]
async fn what_a_release_changes_is_told_field_by_field() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let mut start = shop.demo("web1", &[]);
    let (container, first) = pinned(&shop, &start.workload).await;
    let changes = |lines: &[Clean]| -> Vec<String> {
        let changed = lines
            .iter()
            .filter_map(|line| line.as_str().strip_prefix("note: changes "));
        changed.map(str::to_owned).collect()
    };
    assert!(changes(&first).is_empty(), "nothing runs yet: {first:?}");
    start.workload.container = Some(Box::new(container.clone()));
    shop.must_start(&start).await;
    let (_, same) = pinned(&shop, &start.workload).await;
    assert_eq!(changes(&same), Vec::<String>::new());
    let mut next = start.workload.clone();
    next.env.insert("MODE".to_owned(), "live".to_owned());
    next.container = Some(Box::new(Container {
        shape: Shape {
            memory_bytes: Some(64 << 20),
            ..container.shape
        },
        ..container
    }));
    let (_, lines) = pinned(&shop, &next).await;
    assert_eq!(
        changes(&lines),
        [
            "memory_bytes: as the image says → 67108864",
            "variable MODE: added"
        ]
    );
}

#[tokio::test]
async fn more_memory_than_the_host_has_is_said_before() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let mut workload = shop.demo("web1", &[]).workload;
    workload.container.as_mut().expect("one").shape.memory_bytes = Some(1 << 50);
    let server: ServerName = "web1".parse().expect("a name");
    let servers = [(server, crate::support::free_address())];
    let look = shop.runtime.inspect(&shop.placement, &workload, &servers);
    let lines = look.await.expect("readable").lines;
    let said = |line: &Clean| line.as_str().starts_with("the new instances may use");
    assert!(lines.iter().any(said), "{lines:?}");
}

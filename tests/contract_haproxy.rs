//! What every balancer owes the driver, held against the real HAProxy.

#[path = "support/needs.rs"]
mod needs;
#[path = "support/haproxy.rs"]
mod support;

use std::net::SocketAddr;
use support::{Behaviour, Haproxy, Instance, installed};
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::service::Backend;
use wheelhouse::model::world::{Admin, BalancerReading, ServerView};
use wheelhouse::model::{Outcome, ServerName};
use wheelhouse::ports::Balancer;

/// Holds a balancer to the words of its trait.
///
/// `servers` are at least two servers of `backend`, all out of traffic, with a working instance
/// behind each; `request` sends one request through the balancer and fails unless it is answered
/// 200. All servers are out of traffic again at the end.
async fn balancer_contract<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
    request: impl AsyncFn(),
) {
    a_fresh_backend_is_read_whole(balancer, backend, servers).await;
    settings_are_applied_and_read_back(balancer, backend, servers).await;
    requests_are_counted(balancer, backend, servers, request).await;
    what_cannot_be_done_changes_nothing(balancer, backend, servers).await;
    a_wrong_address_is_found(balancer, backend, servers).await;
    let out: Vec<_> = servers
        .iter()
        .map(|(name, _)| (name.clone(), ServerSetting::OUT))
        .collect();
    let written = balancer.write(backend, &out).await;
    assert_eq!(written.outcome, Outcome::Applied);
    let reading = written.reading.expect("an applied write has its read-back");
    assert!(
        reading
            .servers
            .values()
            .all(|server| server.effective_weight() == 0)
    );
}

async fn read<B: Balancer>(balancer: &B, backend: &Backend) -> BalancerReading {
    balancer.read(backend).await.expect("a reading")
}

async fn a_fresh_backend_is_read_whole<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) {
    let reading = read(balancer, backend).await;
    assert!(!reading.epoch.is_empty());
    assert_eq!(
        reading.epoch,
        read(balancer, backend).await.epoch,
        "an epoch stays"
    );
    for (name, _) in servers {
        let server = reading.servers.get(name).expect("every server is read");
        assert_eq!(server.admin, Admin::Maintenance);
        assert_eq!(server.effective_weight(), 0);
    }
    let lines = balancer.inspect(backend, servers).await;
    assert_eq!(lines, Ok(Vec::new()), "nothing is wrong with it");
}

async fn settings_are_applied_and_read_back<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) {
    let (one, two) = (&servers[0].0, &servers[1].0);
    let drain = ServerSetting {
        admin: Admin::Drain,
        weight: 7,
    };
    let changes = [
        [ServerSetting::ready(90), ServerSetting::ready(10)],
        [ServerSetting::ready(90), ServerSetting::ready(10)],
        [ServerSetting::ready(256), ServerSetting::ready(0)],
        [ServerSetting::ready(1), drain],
        [ServerSetting::OUT, ServerSetting::ready(100)],
        [ServerSetting::ready(50), ServerSetting::ready(50)],
    ];
    for [first, second] in changes {
        let written = balancer
            .write(backend, &[(one.clone(), first), (two.clone(), second)])
            .await;
        assert_eq!(written.outcome, Outcome::Applied, "{first:?} {second:?}");
        let shown = written.reading.expect("an applied write has its read-back");
        let later = read(balancer, backend).await;
        for reading in [&shown, &later] {
            assert!(
                shows(&reading.servers[one], first),
                "{first:?}: {reading:?}"
            );
            assert!(
                shows(&reading.servers[two], second),
                "{second:?}: {reading:?}"
            );
        }
    }
}

fn shows(server: &ServerView, setting: ServerSetting) -> bool {
    let weight_counts = setting.admin == Admin::Ready;
    server.admin == setting.admin && (!weight_counts || server.weight == setting.weight)
}

async fn requests_are_counted<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
    request: impl AsyncFn(),
) {
    const SENT: u64 = 20;
    let (one, two) = (&servers[0].0, &servers[1].0);
    let only_one = [
        (two.clone(), ServerSetting::OUT),
        (one.clone(), ServerSetting::ready(100)),
    ];
    let before = balancer.write(backend, &only_one).await;
    assert_eq!(before.outcome, Outcome::Applied);
    let before = before.reading.expect("an applied write has its read-back");
    for _ in 0..SENT {
        request().await;
    }
    let after = read(balancer, backend).await;
    assert_eq!(after.epoch, before.epoch);
    let counted = |name: &ServerName| {
        let (now, then) = (
            &after.servers[name].counters,
            &before.servers[name].counters,
        );
        let since = now.since(then).expect("counters of one epoch only rise");
        (since.requests, since.errors)
    };
    assert_eq!(counted(one), (SENT, 0));
    assert_eq!(counted(two), (0, 0), "a server in maintenance gets nothing");
}

async fn what_cannot_be_done_changes_nothing<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) {
    let rejected = |outcome: &Outcome| matches!(outcome, Outcome::Rejected { .. });
    let before = read(balancer, backend).await;
    let nobody: ServerName = "nobody".parse().expect("a name");
    let written = balancer
        .write(backend, &[(nobody, ServerSetting::ready(1))])
        .await;
    assert!(rejected(&written.outcome), "{:?}", written.outcome);
    let too_much = (servers[0].0.clone(), ServerSetting::ready(257));
    let written = balancer.write(backend, &[too_much]).await;
    assert!(rejected(&written.outcome), "{:?}", written.outcome);
    let elsewhere = Backend {
        backend: "nowhere".parse().expect("a name"),
        ..backend.clone()
    };
    assert!(balancer.read(&elsewhere).await.is_err());
    let setting = (servers[0].0.clone(), ServerSetting::ready(1));
    let written = balancer.write(&elsewhere, &[setting]).await;
    assert!(rejected(&written.outcome), "{:?}", written.outcome);
    assert_eq!(read(balancer, backend).await.servers, before.servers);
}

async fn a_wrong_address_is_found<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) {
    let elsewhere = SocketAddr::from(([127, 0, 0, 9], 9));
    let wrong = [(servers[0].0.clone(), elsewhere)];
    let lines = balancer.inspect(backend, &wrong).await.expect("a look");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].as_str().contains("127.0.0.9:9"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_haproxy_keeps_the_contract() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let two = Instance::start("two", Behaviour::Works).await;
    let haproxy = Haproxy::start(&[one.address, two.address]).await;
    let request = async || {
        let answer = haproxy.get().await.expect("an answer");
        assert_eq!(answer.0, 200);
    };
    let balancer = haproxy.balancer();
    balancer_contract(&balancer, &haproxy.backend, &haproxy.servers, request).await;
}

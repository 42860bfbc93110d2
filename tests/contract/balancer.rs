//! What every balancer adapter promises.

use super::eventually;
use std::net::SocketAddr;
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::service::Backend;
use wheelhouse::model::world::{Admin, BalancerReading};
use wheelhouse::model::{Outcome, ServerName};
use wheelhouse::ports::Balancer;

type Settings = [(ServerName, ServerSetting)];

/// Holds an adapter to its word. `servers` are all of the backend's servers, at least two, each
/// with somebody who accepts connections. Leaves them all out of traffic.
pub async fn keeps_its_word<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) {
    reads_every_server(balancer, backend, servers).await;
    shares_as_written(balancer, backend, servers).await;
    knows_every_state(balancer, backend, servers).await;
    refuses_what_is_not_there(balancer, backend, servers).await;
    inspects(balancer, backend, servers).await;
    let out: Vec<_> = everyone(servers, ServerSetting::OUT);
    applied(balancer, backend, &out).await;
}

/// Holds an adapter to its word about a balancer that is not there.
pub async fn knows_that_nobody_is_there<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    server: &ServerName,
) {
    let error = balancer.read(backend).await.expect_err("nobody answers");
    assert!(!error.to_string().is_empty());
    let written = balancer
        .write(backend, &[(server.clone(), ServerSetting::ready(1))])
        .await;
    assert!(
        matches!(written.outcome, Outcome::Rejected { .. }),
        "nothing can have changed: {:?}",
        written.outcome
    );
    assert_eq!(written.reading, None);
}

async fn reads_every_server<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) {
    let first = balancer.read(backend).await.expect("readable");
    let found: Vec<&ServerName> = first.servers.keys().collect();
    let mut expected: Vec<&ServerName> = servers.iter().map(|(name, _)| name).collect();
    expected.sort();
    assert_eq!(found, expected);
    assert!(!first.epoch.is_empty());
    assert!(
        first
            .software
            .as_str()
            .contains(|c: char| c.is_ascii_digit()),
        "a version"
    );
    let second = balancer.read(backend).await.expect("readable");
    assert_eq!(first.epoch, second.epoch, "the same process");
}

async fn shares_as_written<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) {
    for weights in [[95, 5], [95, 5], [50, 50], [0, 256], [1, 99]] {
        let mut settings = everyone(servers, ServerSetting::OUT);
        settings[0].1 = ServerSetting::ready(weights[0]);
        settings[1].1 = ServerSetting::ready(weights[1]);
        applied(balancer, backend, &settings).await;
    }
    let ready = [&servers[0].0, &servers[1].0];
    eventually("both servers are up", || async {
        let reading = balancer.read(backend).await.expect("readable");
        ready
            .iter()
            .all(|name| reading.servers[*name].up)
            .then_some(())
    })
    .await;
    let reading = balancer.read(backend).await.expect("readable");
    let weights: Vec<u64> = ready
        .iter()
        .map(|name| reading.servers[*name].effective_weight())
        .collect();
    assert_eq!(weights, [1, 99]);
}

async fn knows_every_state<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) {
    let name = &servers[0].0;
    for admin in [Admin::Drain, Admin::Maintenance, Admin::Ready] {
        let setting = ServerSetting { admin, weight: 10 };
        let before = balancer.read(backend).await.expect("readable");
        let after = applied(balancer, backend, &[(name.clone(), setting)]).await;
        let others = |reading: &BalancerReading| {
            let mut others = reading.servers.clone();
            others.remove(name);
            others
                .into_iter()
                .map(|(name, view)| (name, view.admin, view.weight))
                .collect::<Vec<_>>()
        };
        assert_eq!(others(&before), others(&after), "others stay as they are");
    }
}

async fn refuses_what_is_not_there<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) {
    let nobody: ServerName = "nobody-by-this-name".parse().expect("valid");
    let before = balancer.read(backend).await.expect("readable");
    let written = balancer
        .write(backend, &[(nobody.clone(), ServerSetting::ready(1))])
        .await;
    assert_ne!(written.outcome, Outcome::Applied);
    let after = balancer.read(backend).await.expect("readable");
    for (name, _) in servers {
        assert_eq!(before.servers[name].weight, after.servers[name].weight);
    }
    assert!(!after.servers.contains_key(&nobody));
}

async fn inspects<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    servers: &[(ServerName, SocketAddr)],
) {
    let lines = balancer.inspect(backend, servers).await.expect("readable");
    assert!(lines.is_empty(), "a fit backend is fit: {lines:?}");
    let mut moved = servers.to_vec();
    moved[0].1 = "127.0.0.1:9".parse().expect("valid");
    let lines = balancer.inspect(backend, &moved).await.expect("readable");
    let name = moved[0].0.as_str();
    assert!(
        lines.iter().any(|line| line.as_str().contains(name)),
        "{lines:?}"
    );
    let mut more = servers.to_vec();
    let missing: ServerName = "one-too-many".parse().expect("valid");
    more.push((missing.clone(), "127.0.0.1:9".parse().expect("valid")));
    let lines = balancer.inspect(backend, &more).await.expect("readable");
    assert!(
        lines
            .iter()
            .any(|line| line.as_str().contains(missing.as_str())),
        "{lines:?}"
    );
}

/// Writes and insists that the outcome and two readings say it is so.
async fn applied<B: Balancer>(
    balancer: &B,
    backend: &Backend,
    settings: &Settings,
) -> BalancerReading {
    let written = balancer.write(backend, settings).await;
    assert_eq!(written.outcome, Outcome::Applied, "{settings:?}");
    let reading = written
        .reading
        .expect("a write that is applied was read back");
    let again = balancer.read(backend).await.expect("readable");
    for (name, setting) in settings {
        for view in [&reading.servers[name], &again.servers[name]] {
            assert_eq!(
                (view.admin, view.weight),
                (setting.admin, setting.weight),
                "{name}"
            );
        }
    }
    again
}

fn everyone(
    servers: &[(ServerName, SocketAddr)],
    setting: ServerSetting,
) -> Vec<(ServerName, ServerSetting)> {
    let names = servers.iter().map(|(name, _)| name.clone());
    names.map(|name| (name, setting)).collect()
}

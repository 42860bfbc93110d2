//! Latencies from the log lines of a real HAProxy: exact counts, nothing lost in silence. The
//! numbers in names are rows of the fault catalogue.

#[path = "support/needs.rs"]
mod needs;
#[path = "support/haproxy.rs"]
mod support;

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;
use support::{Behaviour, Haproxy, Instance, installed, server, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wheelhouse::balancer::haproxy::{HaproxyBalancer, HaproxyOptions};
use wheelhouse::model::LogAddress;
use wheelhouse::model::effect::ServerSetting;
use wheelhouse::model::verdict::{Counters, Histogram};
use wheelhouse::ports::Balancer;

/// A server that takes a given time over each answer.
async fn delayed(by: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if !matches!(stream.read(&mut request).await, Ok(read) if read > 0) {
                    return;
                }
                if !request.starts_with(b"GET /readyz") {
                    tokio::time::sleep(by).await;
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                let _ = stream.write_all(answer).await;
            });
        }
    });
    address
}

/// HAProxy with what `haproxy snippet` prints for a log at this address.
async fn logging(addresses: &[SocketAddr], to: &str) -> Haproxy {
    let lines = format!("  log {to} len 2048 format rfc5424 local0 info\n\nfrontend");
    Haproxy::start_edited(addresses, |text| {
        text.replace("\nfrontend", &lines).replace(
            "  timeout client",
            "  log global\n  option httplog\n  timeout client",
        )
    })
    .await
}

fn balancer(haproxy: &Haproxy, log: &str) -> HaproxyBalancer {
    HaproxyBalancer::new(HaproxyOptions {
        log: Some(log.parse::<LogAddress>().expect("an address")),
        ..haproxy.options()
    })
}

async fn counters(balancer: &HaproxyBalancer, haproxy: &Haproxy, name: &str) -> Counters {
    let reading = balancer.read(&haproxy.backend).await.expect("a reading");
    reading.servers[&server(name)].counters.clone()
}

async fn listens(balancer: &HaproxyBalancer, haproxy: &Haproxy, log: &str) {
    balancer.read(&haproxy.backend).await.expect("a reading");
    let path = Path::new(log).to_owned();
    until("the log's socket", async || {
        !path.is_absolute() && is_bound(log)
            || UnixDatagram::unbound().is_ok_and(|socket| socket.connect(&path).is_ok())
    })
    .await;
}

fn is_bound(udp: &str) -> bool {
    UdpSocket::bind(udp).is_err()
}

fn free_udp() -> String {
    let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("its address").to_string()
}

fn latency(counters: &Counters) -> &Histogram {
    counters.latency.as_ref().expect("latencies are counted")
}

async fn get(haproxy: &Haproxy, times: u64) {
    for _ in 0..times {
        assert_eq!(haproxy.get().await.map(|(status, _)| status), Ok(200));
    }
}

/// Both fast and slow in traffic, alike.
async fn both(haproxy: &Haproxy) {
    haproxy
        .set(&[(0, ServerSetting::ready(1)), (1, ServerSetting::ready(1))])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_latencies_are_those_of_the_instances() {
    if !installed() {
        return;
    }
    for over_udp in [false, true] {
        let fast = Instance::start("fast", Behaviour::Works).await;
        let slow = delayed(Duration::from_millis(120)).await;
        let directory = tempfile::tempdir().expect("a directory");
        let log = match over_udp {
            true => free_udp(),
            false => directory.path().join("lb.log").display().to_string(),
        };
        let haproxy = logging(&[fast.address, slow], &log).await;
        both(&haproxy).await;
        let balancer = balancer(&haproxy, &log);
        listens(&balancer, &haproxy, &log).await;
        get(&haproxy, 60).await;
        until("every line", async || {
            let slow = counters(&balancer, &haproxy, "web2").await;
            latency(&slow).count() == slow.requests
        })
        .await;
        let quick = counters(&balancer, &haproxy, "web1").await;
        let slow = counters(&balancer, &haproxy, "web2").await;
        assert_eq!((quick.requests, slow.requests), (30, 30));
        assert_eq!((quick.unmeasured, slow.unmeasured), (0, 0));
        assert_eq!(fast.count(), latency(&quick).count());
        assert_eq!(
            latency(&slow).above(100),
            Some(30),
            "none was faster: {slow:?}"
        );
        assert!(latency(&slow).mean_ms().expect("a mean") >= 120.0);
        assert!(
            latency(&quick).quantile_edge_ms(0.5) < Some(100),
            "{quick:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_a_kill_and_another_engine_keep_counts_apart() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let two = Instance::start("two", Behaviour::Works).await;
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("lb.log").display().to_string();
    let mut haproxy = logging(&[one.address, two.address], &log).await;
    both(&haproxy).await;
    let first = balancer(&haproxy, &log);
    listens(&first, &haproxy, &log).await;
    get(&haproxy, 10).await;
    haproxy.reload().await;
    get(&haproxy, 6).await;
    let whole = async |balancer: &HaproxyBalancer, requests: u64| {
        until("every line of the new process", async || {
            let counted = counters(balancer, &haproxy, "web1").await;
            (
                counted.requests,
                latency(&counted).count(),
                counted.unmeasured,
            ) == (requests, requests, 0)
        })
        .await;
    };
    whole(&first, 3).await;
    drop(first);
    // Nobody listens: HAProxy must not mind, and what is lost must show.
    get(&haproxy, 20).await;
    let second = balancer(&haproxy, &log);
    listens(&second, &haproxy, &log).await;
    let before = counters(&second, &haproxy, "web1").await;
    assert_eq!((before.requests, before.unmeasured), (13, 13));
    get(&haproxy, 8).await;
    until("the lines since", async || {
        let now = counters(&second, &haproxy, "web1").await;
        let since = now.since(&before).expect("one epoch");
        (since.requests, latency(&since).count(), since.unmeasured) == (4, 4, 0)
    })
    .await;
    haproxy.crash().await;
    haproxy.start_again().await;
    until("an answer", async || {
        haproxy.get().await.is_ok_and(|(status, _)| status == 200)
    })
    .await;
    until("a count of the new process", async || {
        let now = counters(&second, &haproxy, "web1").await;
        now.unmeasured == 0 && latency(&now).count() == now.requests && now.requests < 13
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_stays_silent_measures_nothing_and_is_explained() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("lb.log").display().to_string();
    let haproxy = Haproxy::start(&[one.address]).await;
    haproxy.set(&[(0, ServerSetting::ready(1))]).await;
    let balancer = balancer(&haproxy, &log);
    listens(&balancer, &haproxy, &log).await;
    get(&haproxy, 12).await;
    until("all to have ended", async || {
        counters(&balancer, &haproxy, "web1").await.unmeasured == 12
    })
    .await;
    let counted = counters(&balancer, &haproxy, "web1").await;
    assert_eq!(latency(&counted).count(), 0);
    let lines = balancer
        .inspect(&haproxy.backend, &haproxy.servers)
        .await
        .expect("a look");
    let text: Vec<_> = lines.iter().map(|line| line.as_str()).collect();
    let text = text.join("\n");
    assert!(
        text.contains(&format!("does not log to {log}; add `log {log}")),
        "{text}"
    );
    assert!(text.contains("12 of 12 requests"), "{text}");
    // Written as told, nothing is left to say.
    let log = directory.path().join("told.log").display().to_string();
    let told = logging(&[one.address], &log).await;
    let lines = balancer_of(&told, &log)
        .inspect(&told.backend, &told.servers)
        .await;
    let about_log = |line: &&wheelhouse::model::Clean| line.as_str().contains("log");
    assert_eq!(lines.expect("a look").iter().filter(about_log).count(), 0);
}

fn balancer_of(haproxy: &Haproxy, log: &str) -> HaproxyBalancer {
    balancer(haproxy, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_068_a_flood_is_bounded_and_its_loss_is_told() {
    if !installed() {
        return;
    }
    const LINES: u64 = 100_000;
    let one = Instance::start("one", Behaviour::Works).await;
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("lb.log").display().to_string();
    let haproxy = logging(&[one.address], &log).await;
    haproxy.set(&[(0, ServerSetting::ready(1))]).await;
    let balancer = balancer(&haproxy, &log);
    listens(&balancer, &haproxy, &log).await;
    let memory = resident_kib();
    let path = log.clone();
    let flood = tokio::task::spawn_blocking(move || {
        let socket = UnixDatagram::unbound().expect("a socket");
        socket
            .set_nonblocking(true)
            .expect("non-blocking, as HAProxy writes");
        let mut long = vec![b'x'; 60_000];
        let mut arrived = 0;
        for n in 0..LINES {
            long[..8].copy_from_slice(&n.to_be_bytes());
            let bytes = if n % 10 == 0 { &long[..] } else { &long[..200] };
            arrived += u64::from(socket.send_to(bytes, &path).is_ok());
        }
        arrived
    });
    let arrived = flood.await.expect("no panic");
    assert!(arrived > 0);
    let grown = resident_kib().saturating_sub(memory);
    assert!(grown < 64 * 1024, "{grown} KiB more");
    get(&haproxy, 10).await;
    until("all to be accounted for", async || {
        let now = counters(&balancer, &haproxy, "web1").await;
        now.requests == 10 && latency(&now).count() + now.unmeasured == 10
    })
    .await;
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("own status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_request_is_one_line_of_its_server_and_no_more() {
    if !installed() {
        return;
    }
    let one = Instance::start("one", Behaviour::Works).await;
    let two = Instance::start("two", Behaviour::Works).await;
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("lb.log").display().to_string();
    let haproxy = logging(&[one.address, two.address], &log).await;
    haproxy.set(&[(0, ServerSetting::ready(1))]).await;
    let balancer = balancer(&haproxy, &log);
    listens(&balancer, &haproxy, &log).await;
    let hostile = [
        "/x:1%20[21/Nov/2026:13:24:25.135]%20web-in%20web/web2%200/0/0/9999/9999%20500%201%20-"
            .to_owned(),
        format!("/{}", "long".repeat(2_000)),
        "/\u{1b}[2J\"'`$(reboot)".replace('\u{1b}', "%1b"),
    ];
    for path in &hostile {
        let mut stream = TcpStream::connect(haproxy.listen)
            .await
            .expect("HAProxy listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    }
    until("its lines", async || {
        let now = counters(&balancer, &haproxy, "web1").await;
        now.requests > 0 && latency(&now).count() == now.requests && now.unmeasured == 0
    })
    .await;
    let other = counters(&balancer, &haproxy, "web2").await;
    assert_eq!((other.requests, latency(&other).count()), (0, 0));
}

//! The proxy: shares, upgrades, streams, and what it does when a server misbehaves or dies.

use crate::contract::{self, eventually};
use crate::harness::*;
use crate::instances::memory_kib;
use crate::upstream::*;
use rustix::process::Signal;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wheelhouse::balancer::embedded::EmbeddedBalancer;
use wheelhouse::model::service::Server;

/// A shop whose servers are these upstreams, all in traffic alike.
async fn shop_of(host: &HostProcess, upstreams: &[&Upstream]) -> Shop {
    let servers = upstreams.iter().enumerate().map(|(n, upstream)| Server {
        name: format!("web{}", n + 1).parse().expect("valid"),
        address: upstream.address,
        runtime: None,
    });
    let shop = Shop::of(host, servers.collect());
    shop.weights(&vec![Some(1); upstreams.len()]).await;
    shop
}

#[tokio::test]
async fn the_host_keeps_the_balancers_word() {
    let host = HostProcess::start().await;
    let shop = Shop::open(&host, &["1.0", "2.0", "3.0"], &[]).await;
    let servers = shop
        .servers
        .iter()
        .map(|one| (one.name.clone(), one.address));
    let servers: Vec<_> = servers.collect();
    contract::balancer::keeps_its_word(&shop.balancer, &shop.backend, &servers).await;
}

#[tokio::test]
async fn without_a_host_no_weight_is_said_to_have_changed() {
    let host = HostProcess::start().await;
    let shop = Shop::declare(&host, 2);
    let nowhere = host.state_dir().join("nobody.sock");
    let balancer = EmbeddedBalancer::new(&nowhere, [].into()).expect("a client");
    let server = &shop.servers[0].name;
    contract::balancer::knows_that_nobody_is_there(&balancer, &shop.backend, server).await;
}

#[tokio::test]
async fn requests_are_shared_by_weight_and_counted_where_they_went() {
    let host = HostProcess::start().await;
    let shop = Shop::open(&host, &["1.0", "2.0", "3.0"], &[]).await;
    shop.weights(&[Some(85), Some(10), Some(5)]).await;
    let client = client();
    let mut by_version = [0_u64; 3];
    for _ in 0..2_000 {
        let answer = client.get(shop.url("/")).send().await.expect("answered");
        let body: serde_json::Value = answer.json().await.expect("JSON");
        let index = ["1.0", "2.0", "3.0"]
            .iter()
            .position(|version| body["version"] == *version);
        by_version[index.expect("a version of ours")] += 1;
    }
    for (index, expected) in [1_700_u64, 200, 100].into_iter().enumerate() {
        let seen = by_version[index];
        assert!(
            seen.abs_diff(expected) <= 20,
            "server {index}: {seen} of {expected}"
        );
        let counters = shop.server(index).await.counters;
        assert_eq!((counters.requests, counters.errors), (seen, 0));
        assert_eq!(counters.latency.expect("counted").count(), seen);
    }
}

#[tokio::test]
async fn an_answer_of_5xx_is_an_error_of_its_server() {
    let host = HostProcess::start().await;
    let shop = Shop::open(&host, &["1.0"], &["--error-ratio", "0.25"]).await;
    shop.weights(&[Some(1)]).await;
    for _ in 0..40 {
        client().get(shop.url("/")).send().await.expect("answered");
    }
    let counters = shop.server(0).await.counters;
    assert_eq!((counters.requests, counters.errors), (40, 10));
}

#[tokio::test]
async fn what_a_server_sees_is_the_clients_request_with_the_clients_address() {
    let host = HostProcess::start().await;
    let upstream = Upstream::with(Manner::Echo).await;
    let shop = shop_of(&host, &[&upstream]).await;
    let mut wire = Wire::to(shop.listen).await;
    let request = "GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nConnection: x-hop\r\n\
                   X-Hop: 1\r\nX-Forwarded-For: 1.2.3.4\r\nX-Own: kept\r\n\r\n";
    let (head, body) = wire.ask(request).await;
    assert!(body.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{body}");
    let body = body.to_ascii_lowercase();
    for line in [
        "host: shop.example",
        "x-own: kept",
        "x-forwarded-for: 1.2.3.4, 127.0.0.1",
    ] {
        assert!(body.contains(&format!("{line}\r\n")), "{line} in {body}");
    }
    assert!(!body.contains("x-hop"), "{body}");
    assert!(!head.to_ascii_lowercase().contains("keep-alive"), "{head}");
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let host = HostProcess::start().await;
    let upstream = Upstream::with(Manner::Echo).await;
    let shop = shop_of(&host, &[&upstream]).await;
    let mut wire = Wire::to(shop.listen).await;
    for _ in 0..100 {
        let (head, _) = wire.ask("GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    // A connection that is given back may not be ready at once, so there may be a second one.
    let connections = upstream.connections.load(Ordering::SeqCst);
    assert!(
        connections <= 4,
        "{connections} connections for 100 requests"
    );
}

#[tokio::test]
async fn a_request_on_a_kept_connection_that_died_is_repeated_only_where_that_is_harmless() {
    let host = HostProcess::start().await;
    let upstream = Upstream::with(Manner::CloseOnSecond).await;
    let shop = shop_of(&host, &[&upstream]).await;
    let mut wire = Wire::to(shop.listen).await;
    for _ in 0..20 {
        let (head, _) = wire.ask("GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    let repeated = upstream.requests.load(Ordering::SeqCst) - 20;
    assert!(repeated > 0, "connections were taken that died");
    let counters = shop.server(0).await.counters;
    assert_eq!(
        counters.errors as usize, repeated,
        "each failed attempt is counted"
    );

    let before = upstream.requests.load(Ordering::SeqCst);
    for _ in 0..20 {
        let order = "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nhi";
        wire.ask(order).await;
    }
    let arrived = upstream.requests.load(Ordering::SeqCst) - before;
    assert_eq!(arrived, 20, "an order is sent once");
}

#[tokio::test]
async fn a_request_that_ends_its_server_is_repeated_once_and_an_order_never() {
    let host = HostProcess::start().await;
    let dying = [
        Upstream::with(Manner::Silent).await,
        Upstream::with(Manner::Silent).await,
        Upstream::with(Manner::Silent).await,
    ];
    let shop = shop_of(&host, &dying.each_ref()).await;
    let arrived = || -> usize {
        let counts = dying.iter().map(|one| one.requests.load(Ordering::SeqCst));
        counts.sum()
    };
    let answer = client().get(shop.url("/")).send().await.expect("answered");
    assert_eq!((answer.status().as_u16(), arrived()), (502, 2));
    let order = client().post(shop.url("/")).body("hi").send().await;
    assert_eq!(order.expect("answered").status(), 502);
    assert_eq!(arrived(), 3, "an order is sent once");
}

#[tokio::test]
async fn clients_without_manners_cost_the_others_nothing() {
    const LENGTH: usize = 64 * 1024 * 1024;
    let host = HostProcess::start().await;
    let upstream = Upstream::with(Manner::Mirror).await;
    let shop = shop_of(&host, &[&upstream]).await;
    let before = memory_kib(host.pid(), "VmRSS");

    let mut garbage = Wire::to(shop.listen).await;
    let (head, _) = garbage.ask("\u{1}\u{2} what\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    let mut halves = Vec::new();
    for _ in 0..200 {
        let mut half = Wire::to(shop.listen).await;
        half.0
            .write_all(b"GET / HTTP/1.1\r\nHo")
            .await
            .expect("sent");
        halves.push(half);
    }
    // These send a large body, and read nothing of the large answer.
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::to(shop.listen).await;
        let head = format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {LENGTH}\r\n\r\n");
        wire.0.write_all(head.as_bytes()).await.expect("sent");
        send_zeros(&mut wire.0, LENGTH).await.expect("sent");
        deaf.push(wire);
    }
    eventually("their answers are under way", || async {
        (shop.server(0).await.sessions == 4).then_some(())
    })
    .await;

    let client = client();
    for _ in 0..50 {
        let answer = client.get(shop.url("/")).send().await.expect("answered");
        assert_eq!(answer.status(), 200);
    }
    let grown = memory_kib(host.pid(), "VmHWM").saturating_sub(before);
    assert!(grown < 16 * 1024, "the host grew by {grown} KiB");
    assert_eq!(shop.server(0).await.counters.errors, 0);
    drop((halves, deaf));
    shop.drained(0).await;
}

#[tokio::test]
async fn a_server_nobody_listens_on_costs_no_request_and_is_back_when_somebody_does() {
    let host = HostProcess::start().await;
    let shop = Shop::declare(&host, 2);
    must_start(
        &shop.runtime,
        demo("web1", shop.servers[0].address, "1.0", &[]),
    )
    .await;
    answers(shop.servers[0].address).await;
    shop.weights(&[Some(1), Some(1)]).await;
    let client = client();
    for _ in 0..50 {
        let answer = client.get(shop.url("/")).send().await.expect("answered");
        assert_eq!(answer.status(), 200);
    }
    assert!(!shop.server(1).await.up);
    must_start(
        &shop.runtime,
        demo("web2", shop.servers[1].address, "2.0", &[]),
    )
    .await;
    eventually("it is up again", || async {
        shop.server(1).await.up.then_some(())
    })
    .await;
    for _ in 0..10 {
        client.get(shop.url("/")).send().await.expect("answered");
    }
    assert!(
        shop.server(1)
            .await
            .counters
            .latency
            .expect("counted")
            .count()
            >= 5
    );
}

#[tokio::test]
async fn when_nobody_can_answer_the_proxy_says_so() {
    let host = HostProcess::start().await;
    let shop = Shop::declare(&host, 2);
    shop.weights(&[None, Some(0)]).await;
    let answer = client().get(shop.url("/")).send().await.expect("answered");
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.expect("text");
    assert_eq!(text, "no server of shop can answer now\n");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_of_its_server() {
    let host = HostProcess::start().await;
    let upstream = Upstream::with(Manner::BreakOff).await;
    let shop = shop_of(&host, &[&upstream]).await;
    let answer = client().get(shop.url("/")).send().await.expect("a head");
    answer.bytes().await.expect_err("the body breaks off");
    eventually("it is counted", || async {
        (shop.server(0).await.counters.errors == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_is_no_error_but_its_wait_is_seen() {
    let host = HostProcess::start().await;
    let shop = Shop::open(&host, &["1.0"], &["--latency-ms", "2000"]).await;
    shop.weights(&[Some(1)]).await;
    let impatient = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_millis(200));
    let impatient = impatient.build().expect("a client");
    impatient
        .get(shop.url("/"))
        .send()
        .await
        .expect_err("gave up");
    eventually("the request is over", || async {
        let server = shop.server(0).await;
        (server.sessions == 0 && server.counters.requests == 1).then_some(())
    })
    .await;
    let counters = shop.server(0).await.counters;
    assert_eq!(counters.errors, 0);
    assert_eq!(counters.latency.expect("counted").above(100), Some(1));
}

#[tokio::test]
async fn an_upgraded_connection_is_passed_through_and_is_a_session_until_it_ends() {
    let host = HostProcess::start().await;
    let shop = Shop::open(&host, &["1.0"], &[]).await;
    shop.weights(&[Some(1)]).await;
    let mut wire = Wire::to(shop.listen).await;
    let request = "GET /upgrade HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\n\
                   Upgrade: echo\r\n\r\n";
    let (head, _) = wire.ask(request).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    for text in ["first", "second"] {
        wire.0.write_all(text.as_bytes()).await.expect("sent");
        let mut back = vec![0; text.len()];
        wire.0.read_exact(&mut back).await.expect("read");
        assert_eq!(back, text.as_bytes());
        // Out of traffic, what is under way goes on and is seen.
        shop.weights(&[None]).await;
        assert_eq!(shop.server(0).await.sessions, 1);
    }
    drop(wire);
    shop.drained(0).await;
}

#[tokio::test]
async fn large_bodies_stream_both_ways_in_flat_memory() {
    const LENGTH: usize = 100 * 1024 * 1024;
    let host = HostProcess::start().await;
    let upstream = Upstream::with(Manner::Mirror).await;
    let shop = shop_of(&host, &[&upstream]).await;
    let before = memory_kib(host.pid(), "VmRSS");
    let mut wire = Wire::to(shop.listen).await;
    let head = format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {LENGTH}\r\n\r\n");
    wire.0.write_all(head.as_bytes()).await.expect("sent");
    send_zeros(&mut wire.0, LENGTH).await.expect("sent");
    let head = read_head(&mut wire.0)
        .await
        .expect("read")
        .expect("an answer");
    assert_eq!(content_length(&head), LENGTH);
    skip(&mut wire.0, LENGTH).await.expect("read");
    let grown = memory_kib(host.pid(), "VmHWM").saturating_sub(before);
    assert!(grown < 8 * 1024, "the host grew by {grown} KiB");
}

#[tokio::test]
async fn the_proxy_goes_on_while_its_callers_are_gone_and_instances_come_back() {
    let host = HostProcess::start().await;
    let shop = Shop::declare(&host, 2);
    for (server, version) in shop.servers.iter().zip(["1.0", "1.0"]) {
        let mut start = demo(server.name.as_str(), server.address, version, &[]);
        start.keep_running = true;
        must_start(&shop.runtime, start).await;
        answers(server.address).await;
    }
    shop.weights(&[Some(1), Some(1)]).await;
    let pid = view(&shop.runtime, "web1").await.expect("there").pid;
    signal(pid, Signal::KILL);
    let client = client();
    for _ in 0..50 {
        let answer = client.get(shop.url("/")).send().await.expect("answered");
        assert_eq!(answer.status(), 200);
    }
    eventually("the killed one is back and up", || async {
        let is_back = view(&shop.runtime, "web1").await?.restarts == 1;
        (is_back && shop.server(0).await.up).then_some(())
    })
    .await;
}

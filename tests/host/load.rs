//! Nothing is lost while traffic moves: continuous load on kept connections, each request with an
//! id of its own that its answer must carry.

use crate::harness::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Clients, each with its own kept connection.
const CLIENTS: usize = 10;
/// Between two requests of a client, so that together they ask 400 times a second.
const PACE: Duration = Duration::from_millis(25);

/// What the clients saw.
#[derive(Default, Debug)]
struct Seen {
    by_version: BTreeMap<String, usize>,
    lost: Vec<String>,
}

struct Load {
    clients: JoinSet<Seen>,
    stop: CancellationToken,
    began: Instant,
}

impl Load {
    fn on(shop: &Shop) -> Self {
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(ask_on(number, shop.url("/"), stop.clone()));
        }
        Self {
            clients,
            stop,
            began: Instant::now(),
        }
    }

    /// Ends the load; fails when a request was lost or too few were sent.
    async fn end(self) -> BTreeMap<String, usize> {
        self.stop.cancel();
        let seconds = self.began.elapsed().as_secs_f64();
        let mut all = Seen::default();
        for seen in self.clients.join_all().await {
            all.lost.extend(seen.lost);
            for (version, count) in seen.by_version {
                *all.by_version.entry(version).or_default() += count;
            }
        }
        assert!(all.lost.is_empty(), "lost: {:#?}", all.lost);
        let asked: usize = all.by_version.values().sum();
        let per_second = asked as f64 / seconds;
        assert!(per_second >= 200.0, "{asked} in {seconds} s is no load");
        all.by_version
    }
}

async fn ask_on(number: usize, url: String, stop: CancellationToken) -> Seen {
    let client = client();
    let mut seen = Seen::default();
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for count in 0.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
        }
        let id = format!("{number}-{count}");
        match ask(&client, &url, &id).await {
            Ok(version) => *seen.by_version.entry(version).or_default() += 1,
            Err(why) => seen.lost.push(format!("{id}: {why}")),
        }
    }
    seen
}

async fn ask(client: &reqwest::Client, url: &str, id: &str) -> Result<String, String> {
    let request = client.get(url).header("x-request-id", id);
    let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let echoed = answer.headers().get("x-request-id").cloned();
    let body: serde_json::Value = answer
        .json()
        .await
        .map_err(|error| format!("{status} {error:?}"))?;
    if !status.is_success() || echoed.is_none_or(|echoed| echoed != id) {
        return Err(format!("{status} {body}"));
    }
    Ok(body["version"].to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_canary_and_its_way_back_lose_no_request() {
    let host = HostProcess::start().await;
    let shop = Shop::declare(&host, 4);
    let slow = ["--latency-ms", "8"];
    for index in 0..2 {
        let server = &shop.servers[index];
        must_start(
            &shop.runtime,
            demo(server.name.as_str(), server.address, "1.0", &slow),
        )
        .await;
        answers(server.address).await;
    }
    shop.weights(&[Some(50), Some(50), None, None]).await;
    let load = Load::on(&shop);

    for round in 0..2 {
        for index in 2..4 {
            let server = &shop.servers[index];
            let start = demo(server.name.as_str(), server.address, "2.0", &slow);
            must_start(&shop.runtime, start).await;
            answers(server.address).await;
        }
        for percent in [5, 25, 50, 75, 25, 95, 60] {
            let old = Some(100 - percent);
            shop.weights(&[old, old, Some(percent), Some(percent)])
                .await;
            requests_pass(&shop, 30).await;
        }
        // Back to the old ones at once, and the new ones go while the load goes on.
        shop.weights(&[Some(50), Some(50), None, None]).await;
        for index in 2..4 {
            shop.drained(index).await;
            shop.stop(index).await;
        }
        // One old server is drained, restarted and taken back.
        shop.weights(&[None, Some(50)]).await;
        shop.drained(0).await;
        shop.stop(0).await;
        let first = &shop.servers[0];
        let version = format!("1.{round}");
        must_start(
            &shop.runtime,
            demo(first.name.as_str(), first.address, &version, &slow),
        )
        .await;
        answers(first.address).await;
        shop.weights(&[Some(50), Some(50)]).await;
        requests_pass(&shop, 30).await;
    }

    let by_version = load.end().await;
    assert!(
        by_version.contains_key("\"2.0\""),
        "the canary had traffic: {by_version:?}"
    );
    for index in 0..4 {
        let counters = shop.server(index).await.counters;
        assert_eq!(counters.errors, 0, "no server was seen to fail");
    }
}

/// Waits until this many more requests were answered.
async fn requests_pass(shop: &Shop, count: u64) {
    let total = || async {
        let mut total = 0;
        for index in 0..shop.servers.len() {
            total += shop.server(index).await.counters.requests;
        }
        total
    };
    let before = total().await;
    crate::contract::eventually("requests are answered", || async {
        (total().await >= before + count).then_some(())
    })
    .await;
}

//! The proxy: shares, drains, upgrades, streams, and what it does when a server dies.

use crate::contract;
use crate::harness::*;

#[tokio::test]
async fn the_host_keeps_the_balancers_word() {
    let host = HostProcess::start().await;
    let shop = Shop::open(&host, &["1.0", "2.0", "3.0"], &[]).await;
    let servers: Vec<_> = shop
        .servers
        .iter()
        .map(|one| (one.name.clone(), one.address))
        .collect();
    contract::balancer::keeps_its_word(&shop.balancer, &shop.backend, &servers).await;
}

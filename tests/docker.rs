//! Docker as a runtime, against a real daemon: what the port promises, and what a daemon, a
//! registry and other people's containers do to it. Instances are the demo service in an image
//! made of this build's own binary.

#[path = "contract/mod.rs"]
mod contract;

#[path = "support/git.rs"]
mod git;
#[path = "support/haproxy.rs"]
mod haproxy;
#[path = "support/needs.rs"]
mod needs;
#[path = "support/prometheus.rs"]
mod real_prometheus;

#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "rollout/load.rs"]
mod load;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "rollout/process.rs"]
mod process;

#[path = "docker/daemon.rs"]
mod daemon;
#[path = "docker/inside.rs"]
mod inside;
#[path = "docker/support.rs"]
mod support;

#[path = "docker/clones.rs"]
mod clones;
#[path = "docker/estate.rs"]
mod estate;
#[path = "docker/events.rs"]
mod events;
#[path = "docker/foreign.rs"]
mod foreign;
#[path = "docker/frozen.rs"]
mod frozen;
#[path = "docker/instances.rs"]
mod instances;
#[path = "docker/leases.rs"]
mod leases;
#[path = "docker/peers.rs"]
mod peers;
#[path = "docker/pipeline.rs"]
mod pipeline;
#[path = "docker/registry.rs"]
mod registry;
#[path = "docker/rollouts.rs"]
mod rollouts;
#[path = "docker/runbook.rs"]
mod runbook;

//! Docker as a runtime, against a real daemon: what the port promises, and what a daemon, a
//! registry and other people's containers do to it. Instances are the demo service in an image
//! made of this build's own binary.

#[path = "contract/mod.rs"]
mod contract;

#[path = "support/needs.rs"]
mod needs;

#[path = "docker/daemon.rs"]
mod daemon;
#[path = "docker/support.rs"]
mod support;

#[path = "docker/clones.rs"]
mod clones;
#[path = "docker/foreign.rs"]
mod foreign;
#[path = "docker/frozen.rs"]
mod frozen;
#[path = "docker/instances.rs"]
mod instances;
#[path = "docker/registry.rs"]
mod registry;
#[path = "docker/rollouts.rs"]
mod rollouts;

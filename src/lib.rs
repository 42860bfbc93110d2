//! Wheelhouse: steer deployments from a terminal.

pub mod balancer;
pub mod model;
pub mod ports;
pub mod probe;

//! Wheelhouse: steer deployments from a terminal.

pub mod balancer;
pub mod demo;
pub mod host;
pub mod model;
pub mod ports;
pub mod runtime;

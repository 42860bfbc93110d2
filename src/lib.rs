//! Wheelhouse: steer deployments from a terminal.

pub mod model;
pub mod ports;

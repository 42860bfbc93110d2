//! Wheelhouse: steer deployments from a terminal.

pub mod config;
pub mod model;
pub mod ports;

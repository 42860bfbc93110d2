//! Wheelhouse: steer deployments from a terminal.

pub mod history;
pub mod model;
pub mod ports;

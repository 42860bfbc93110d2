//! Wheelhouse: steer deployments from a terminal.

pub mod link;
pub mod model;
pub mod ports;
pub mod view;

//! Wheelhouse: steer deployments from a terminal.

pub mod analysis;
pub mod driver;
pub mod engine;
pub mod link;
pub mod config;
pub mod history;
pub mod model;
pub mod ports;
pub mod view;
pub mod balancer;
pub mod model;
pub mod ports;
pub mod probe;

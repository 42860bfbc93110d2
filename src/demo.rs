//! The demo: a service worth deploying.

pub mod service;

//! The demo: a service worth deploying, a load worth watching, and a story told with both.

pub mod chapter;
pub mod guide;
pub mod load;
pub mod repository;
pub mod service;
pub mod stage;
pub mod story;
pub mod teller;

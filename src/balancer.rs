//! Adapters for whatever shares requests between servers: one file per real system.

pub mod haproxy;

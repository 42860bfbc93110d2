//! Engine and console are two processes; this is what they say to each other.

pub mod wire;

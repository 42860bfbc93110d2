//! Adapters for sources of metrics, behind [`crate::ports::Metrics`], and what lets such a source
//! find our instances. Must not know what is judged, nor why somebody asks.

pub mod discovery;
pub mod preset;
pub mod prometheus;

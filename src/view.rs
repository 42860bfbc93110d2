//! State and World → [`Snapshot`]: plain serialisable data for screens and `--json`.
//!
//! Everything a screen shows is here, so a screen is a function of a snapshot and its own
//! scrolling; nothing here decides anything. Times are Unix ms in the engine's time.

#![deny(clippy::disallowed_methods)]

pub mod discovery;
pub mod preview;
mod smoke;
pub mod snapshot;

mod build;
mod explain;
mod foretell;
pub mod pipeline;
mod ready;
mod rollout;
mod rules;
mod slots;
mod timeline;
mod traffic;
mod trend;
pub mod words;

pub use build::{About, placements};
pub use explain::effect_text;
pub use foretell::{Asking, foretell};
pub use pipeline::{RunView, runs};
pub use preview::{Preview, PreviewLine, Tier};
pub use slots::name_switchers;
pub use snapshot::Snapshot;
pub use timeline::{details, timeline_row};

#[cfg(test)]
mod tests;

//! The engine, pure: what to record, what that means, and what is outstanding.
//!
//! - [`fn@observe`] keeps what was seen in the [`World`](crate::model::World), never recorded;
//! - [`fn@follow`] compares a canary's counts with stable's as they come, never recorded either;
//! - [`decide`](decide::decide) judges an input and answers with entries or a refusal;
//! - [`fn@evolve`] folds records into the [`State`](crate::model::State), the only thing replay runs;
//! - [`plan`](plan::plan) derives from both what is outstanding, again and again, until nothing is.
//!
//! No I/O, clock, randomness, tokio or unordered map may enter here.

#![deny(clippy::disallowed_methods)]

pub mod decide;
pub mod evolve;
pub mod look;
pub mod observe;
pub mod plan;
pub mod preview;

pub mod shares;

mod begin;
mod blue_green;
mod canary;
pub mod capacity;
mod command;
pub mod compare;
mod everyday;
mod evidence;
mod instance;
pub(crate) mod parts;
pub mod pipeline;
mod recreate;
mod retire;
mod revert;
mod rollback;
pub mod rolling;
mod size;
pub mod slots;
pub(crate) mod sources;
pub(crate) mod steps;
mod stock;
mod traffic;

pub use compare::{Comparisons, follow};
pub use decide::{decide, refusal_entry};
pub use evolve::evolve;
pub use look::Look;
pub use observe::observe;
pub use plan::{Direction, plan};
pub use preview::{Dream, Until, rehearse};
pub use steps::verdict;

#[cfg(test)]
pub(crate) mod tests;

//! The driver: the order of things. [`turn()`] is pure and decides what happens next; the shell
//! around it does it.
//!
//! - [`fn@turn`] the loop's one step, driven here and by the simulator alike;
//! - [`Shell`] tasks, timers, workers and the history's thread around it;
//! - [`EngineHandle`] how others ask, and where they read snapshots.

pub mod turn;

mod clock;
mod handle;
mod hints;
mod shell;
mod work;

pub use clock::Clock;
pub use handle::{Closed, EngineHandle};
pub use shell::{Refit, Shell, ShellOptions};
pub use turn::{Core, turn};
pub use work::Peers;

//! The driver: the order of things. [`turn`] is pure and decides what happens next; the shell
//! around it does it.

pub mod turn;

pub use turn::{Core, turn};

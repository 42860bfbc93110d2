//! The console: the screen, a client of the engine.
//!
//! It may vanish at any moment and nothing happens to a rollout. [`app`] holds its state and is
//! pure; [`screen`] and [`pane`] draw it; [`dialog`] guards what changes the world; [`input`]
//! turns bytes into keys; [`terminal`] takes the terminal and gives it back; [`run()`] ties them
//! together. Text of dialogs comes from the engine; nothing is decided here.

pub mod app;
pub mod dialog;
pub mod input;
pub mod keymap;
pub mod pane;
pub mod run;
pub mod screen;
pub mod surroundings;
pub mod terminal;
pub mod theme;
pub mod widget;

pub use app::{ConsoleEnd, CtrlC, Guide};
pub use run::{ConsoleError, ConsoleOptions, run};
pub use surroundings::Surroundings;

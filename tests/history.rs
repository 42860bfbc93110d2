//! The history as its users see it: what is written is read back, and what is not as it was
//! written is found.

#[path = "history/support.rs"]
mod support;

#[path = "history/writing.rs"]
mod writing;

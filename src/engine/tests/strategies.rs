//! The strategies beside canary, and the everyday verbs.

mod blue_green;
mod everyday;
mod field;
mod recreate;
mod rolling;
mod worker;

//! The command line as scripts and people use it: the real program, its exit codes, its words.

#[path = "cli/support.rs"]
mod support;

#[path = "cli/words.rs"]
mod words;

#[path = "cli/engine.rs"]
mod engine;

#[path = "cli/judge.rs"]
mod judge;

#[path = "cli/requests.rs"]
mod requests;

#[path = "cli/rollout.rs"]
mod rollout;

#[path = "cli/smoke.rs"]
mod smoke;

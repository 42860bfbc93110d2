//! Wheelhouse: steer deployments from a terminal.
//!
//! One binary, three roles. The **engine** ([`driver`]) owns the rollouts and outlives every
//! terminal; the **console** is its client over a Unix socket ([`link`]); the **host** is the
//! embedded default, parent of the instances and proxy in front of them.
//!
//! | room | what is decided or done there |
//! |---|---|
//! | [`model`] | the vocabulary: plain data, no decisions |
//! | [`engine`], [`analysis`] | pure: what to record, what it means, what is outstanding; the judge |
//! | [`driver`] | the order of things: `turn` (pure) and the tasks around it |
//! | [`history`] | the local history file, hash-chained |
//! | [`balancer`], [`runtime`], [`metrics`], [`probe`] | adapters behind [`ports`], one file per real system |
//! | [`pipeline`] | does the stages of pipelines, and hears webhooks |
//! | [`secret`] | fetches what a reference to a secret leads to, when it is needed |
//! | [`host`] | the embedded default |
//! | [`lease`] | which engine steers a target |
//! | [`view`] | state and world as plain data for screens and `--json` |
//! | [`runbook`] | pure: the way back to stable by hand, from the records |
//! | [`link`], [`console`], [`cli`], [`config`] | how people reach it |
//! | [`sim`] | a seeded world that drives `driver::turn` through every fault |
//! | [`demo`] | the story a newcomer sees first |
//!
//! Invariants, each held by a test: `model` knows no other room; `engine` and `analysis` know no
//! I/O, clock or randomness; nothing outside `history` writes the history; nothing acts away from
//! the last verified release before its intent is durable; a reply's text never decides, only
//! the read-back does; no console is needed for a rollout to go on.

pub mod analysis;
pub mod balancer;
pub mod cli;
pub mod config;
pub mod console;
pub mod demo;
pub mod driver;
pub mod engine;
pub mod history;
pub mod host;
pub mod lease;
pub mod link;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod ports;
pub mod probe;
pub mod runbook;
pub mod runtime;
pub mod secret;
pub mod sim;
pub mod view;

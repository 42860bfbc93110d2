//! The vocabulary every room shares: plain data, no I/O, no clock, no decisions.
//!
//! Must not know any other room. One word has one meaning:
//! a **service** in an **environment** is a [`Placement`]; what one deploy made is a
//! [`Release`]; a balancer's entry is a **server**; a process behind it an **instance**.
//! A **rollout** moves traffic from one release to another, **step** by step; at each step it
//! **soaks** while the judge forms a **verdict**. **Stable** and **canary** are roles in a
//! rollout, never labels on instances.

#![deny(clippy::disallowed_methods)]

pub mod checks;
pub mod command;
pub mod comparison;
pub mod container;
pub mod effect;
pub mod entry;
pub mod ids;
pub mod input;
pub mod log_address;
pub mod metrics;
pub mod pipeline;
pub mod placeholder;
mod recorded;
pub mod role;
pub mod secret;
pub mod service;
pub mod state;
pub mod stock;
pub mod strategy;
pub mod text;
pub mod verdict;
pub mod world;

pub use checks::Checks;
pub use command::{Command, PromoteTo, Refusal, Urgency};
pub use effect::{Action, Effect, EffectKey, ServerSetting};
pub use entry::{Actor, Entry, Record};
pub use ids::{
    BalancerName, EffectId, EnvName, MetricsName, Name, NameError, PipelineName, Placement,
    ReleaseId, RequestId, RolloutId, RolloutNumber, RunId, RunNumber, RuntimeName, Seq, ServerName,
    ServiceName, StageName, Version,
};
pub use input::{Event, Input, Outcome};
pub use log_address::LogAddress;
pub use role::{Grant, Identity, Role, Roles};
pub use service::{Release, ServiceSpec, Step};
pub use state::{Phase, PlacementState, Rollout, RolloutKind, State, Status};
pub use stock::Stock;
pub use strategy::{Slot, Slots, Strategy};
pub use text::Clean;
pub use verdict::{Verdict, VerdictClass};
pub use world::World;

//! Engine and console are two processes; this is what they say to each other.
//!
//! The engine listens on a Unix socket ([`bind`], [`serve`]); consoles and commands call it
//! ([`Client`], [`fn@follow`]) and may start a personal one in the background ([`spawn_engine`]).
//! Both sides ask the kernel who the other one is before a byte is read or sent. A caller that
//! floods, stalls or talks nonsense loses its connection; the engine never waits for it, and an
//! abort gets through all the same.
//!
//! Must not know what a command means: [`EngineSide`] answers. Lanes and order of commands are
//! the driver's.

pub mod access;
pub mod client;
pub mod follow;
pub mod frame;
pub mod peer;
pub mod server;
pub mod socket;
pub mod spawn;
pub mod wire;

pub use access::{Access, AccountBook, MachineAccounts};
pub use client::{AskError, Client, ClientOptions, ConnectError, HelloInfo, Snapshots};
pub use follow::{Backoff, LinkEvent, follow};
pub use peer::{Peer, own_uid};
pub use server::{EngineSide, Limits, ServerHello, ServerOptions, Trouble, serve};
pub use socket::{BindError, BoundSocket, OpenTo, SOCKET_NAME, bind, bind_for, socket_path};
pub use spawn::{Launch, SpawnError, detach, spawn_engine};

//! The link as its two ends see it: a real socket, an engine that answers by a script, and
//! callers of every manner.

#[path = "link/support.rs"]
mod support;

#[path = "link/socket.rs"]
mod socket;

#[path = "link/hello.rs"]
mod hello;

#[path = "link/callers.rs"]
mod callers;

#[path = "link/flood.rs"]
mod flood;

#[path = "link/follow.rs"]
mod follow;

#[path = "link/spawn.rs"]
mod spawn;

#[path = "link/roles.rs"]
mod roles;

#[path = "link/versions.rs"]
mod versions;

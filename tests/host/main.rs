//! The embedded host as a real process: its instances, its proxy, its death and its return.

#[path = "../contract/mod.rs"]
mod contract;
mod harness;
mod instances;
mod load;
mod proxy;
mod restart;
mod upstream;

//! The history as its users see it: what is written is read back, and what is not as it was
//! written is found.

#[path = "history/support.rs"]
mod support;

#[path = "history/writing.rs"]
mod writing;

#[path = "history/projections.rs"]
mod projections;

#[path = "history/faults.rs"]
mod faults;

#[path = "history/writer.rs"]
mod writer;

#[path = "history/damage.rs"]
mod damage;

#[path = "history/backup.rs"]
mod backup;

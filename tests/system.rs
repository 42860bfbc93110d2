//! The system engine as a real process: where it lives, who may use it, what it tells systemd, how
//! it reads its configuration anew. It runs with directories of the test's own, which it takes
//! from the variables systemd would set.

#[path = "cli/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the personal engine")]
mod support;

#[path = "system/machine.rs"]
mod machine;

#[path = "system/places.rs"]
mod places;

#[path = "system/people.rs"]
mod people;

#[path = "system/manager.rs"]
mod manager;

#[path = "system/reload.rs"]
mod reload;

#[path = "system/leases.rs"]
mod leases;

#[path = "system/upgrade.rs"]
mod upgrade;

#[path = "system/policy.rs"]
mod policy;

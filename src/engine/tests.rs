//! Scenarios through decide → evolve → plan, and tables of what each command does when.

mod commands;
mod estate;
mod evidence;
mod field;
mod found;
mod left;
mod metrics;
mod parts;
mod smoke;
pub(crate) mod stage;
mod strategies;

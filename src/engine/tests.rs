//! Scenarios through decide → evolve → plan, and tables of what each command does when.

mod checks;
mod commands;
mod compare;
mod emergency;
mod estate;
mod evidence;
mod field;
mod found;
mod left;
mod metrics;
pub(crate) mod parts;
mod pipeline;
mod smoke;
pub(crate) mod stage;
mod stock;
mod strategies;

//! The console: placeholder until merged.
use super::context::Context;
use super::exit::{Ended, Exit};
pub(super) async fn run(_context: &Context) -> Ended {
    Ok(Exit::Usage)
}

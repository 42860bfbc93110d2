//! What a test needs of the machine: there, or the test is skipped; where `CI` or
//! `WHEELHOUSE_TESTS_STRICT` is 1 it must be there.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::process::Command;

/// Whether a program is here, by asking it for its version.
pub fn has(program: &str, version: &str) -> bool {
    let found = Command::new(program).arg(version).output().is_ok();
    found_or_skipped(program, found)
}

/// Fails where everything must be there, else says loudly what is skipped.
pub fn found_or_skipped(what: &str, found: bool) -> bool {
    let strict = ["CI", "WHEELHOUSE_TESTS_STRICT"]
        .into_iter()
        .find(|name| std::env::var(name).is_ok_and(|value| !matches!(&*value, "" | "0" | "false")));
    assert!(
        found || strict.is_none(),
        "{} is set and {what} is missing",
        strict.unwrap_or_default()
    );
    if !found {
        eprintln!("\n********** SKIPPED: {what} is missing **********\n");
    }
    found
}

//! J35 and FAULT 13: what a newer Wheelhouse wrote is looked at and not acted on.

use crate::support::{Place, free_ports, shop};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Appends a record of a kind this version does not know, linked as every other one is.
fn append_of_a_newer_version(file: &Path) {
    let history = Connection::open(file).expect("opened");
    let last = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1";
    let (seq, prev): (u64, Vec<u8>) = history
        .query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a record");
    let (seq, at_ms) = (seq + 1, 1_700_000_000_000_u64);
    let (actor, kind) = ("\"engine\"", "approved");
    let body = r#"{"kind":"approved","by":{"person":{"uid":7,"user":"bob"}},"of":3}"#;
    let mut hash = Sha256::new();
    hash.update(&prev);
    hash.update(seq.to_be_bytes());
    hash.update(at_ms.to_be_bytes());
    for text in [actor, kind, body] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let hash = hash.finalize().to_vec();
    let row = params![seq, at_ms, actor, kind, body, prev, hash];
    history
        .execute(
            "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            row,
        )
        .expect("appended");
    let tip = "UPDATE tip SET seq = ?1, hash = ?2";
    history.execute(tip, params![seq, hash]).expect("moved");
}

#[test]
fn a_history_with_a_record_of_a_newer_version_is_shown_and_not_added_to() {
    let place = Place::with(&shop(free_ports(5)));
    let mut engine = place.engine();
    place
        .run(&["note", "shop", "-e", "prod", "before the upgrade"])
        .must(0);
    place.run(&["engine", "stop"]).must(0);
    engine.ends();
    append_of_a_newer_version(&place.state().join("history.db"));

    let _engine = place.engine();
    let told = place.run(&["engine", "status", "--json"]).must(0).json();
    assert_eq!(told["newer"], true);
    let records = told["seq"].clone();
    let deploy = ["deploy", "shop", "v1", "-e", "prod", "--confirm", "prod"];
    let said = place.run(&deploy).must(3);
    let why = "a newer Wheelhouse wrote this history; use that version to act";
    assert!(said.err.contains(why) || said.out.contains(why), "{said:?}");
    let takes = ["engine", "takeover", "host", "--reason", "mine"];
    place.run(&takes).must(3);
    let said = place.run(&["history", "verify"]).must(0);
    assert!(said.out.contains("the history is whole"), "{said:?}");
    let told = place.run(&["engine", "status", "--json"]).must(0).json();
    assert_eq!(told["seq"], records, "nothing was added");
}

//! The README says what is so: its key table is the key map's, its configurations are valid.

use std::path::Path;
use wheelhouse::config::Config;
use wheelhouse::console::keymap;

const README: &str = include_str!("../README.md");

fn key_table() -> String {
    let rows = keymap::table()
        .into_iter()
        .map(|(keys, help)| format!("| `{keys}` | {help} |\n"));
    format!(
        "| key | what it does |\n|---|---|\n{}",
        rows.collect::<String>()
    )
}

#[test]
fn the_key_table_is_the_key_maps() {
    let written = README
        .split("<!-- keys -->\n")
        .nth(1)
        .expect("the table stands between two marks");
    assert_eq!(written, key_table(), "put this there:\n\n{}", key_table());
}

#[test]
fn its_configurations_are_valid() {
    let blocks: Vec<&str> = README
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("an end"))
        .collect();
    assert_eq!(blocks.len(), 11);
    for text in blocks {
        let loaded = Config::of_texts(&[(Path::new("wheelhouse.toml"), text)]);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }
}

#[test]
fn its_exit_codes_are_the_programs() {
    let mut rows = README
        .lines()
        .skip_while(|line| *line != "| exit code | meaning |")
        .skip(2);
    let codes: Vec<&str> = rows
        .by_ref()
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(1).map(str::trim))
        .collect();
    assert_eq!(codes, ["0", "1", "2", "3", "64", "69", "73", "78"]);
}

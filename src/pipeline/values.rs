//! What a stage hands on: the lines `NAME=VALUE` it wrote into the file it was told. Pure.

use super::lines::Masks;
use crate::model::Clean;
use crate::model::pipeline::{VALUE_BYTES_MAX, VALUES_MAX};
use std::collections::BTreeMap;

/// Largest file of values, in bytes: all that may be in it, and comfortable names.
pub(super) const FILE_BYTES_MAX: u64 = (VALUES_MAX * (VALUE_BYTES_MAX + 256)) as u64;
/// Longest name of a value.
const NAME_BYTES_MAX: usize = 64;

/// Reads the values; a name that comes twice has its last value.
///
/// # Errors
/// The number of the line that is wrong, what is wrong with it, and the mend. It quotes no value:
/// that may be a secret.
pub(super) fn parse(bytes: &[u8], masks: &Masks) -> Result<BTreeMap<String, Clean>, String> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "WHEELHOUSE_OUTPUT is larger than {FILE_BYTES_MAX} bytes"
        ));
    }
    let mut values = BTreeMap::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let wrong = |why: String| format!("WHEELHOUSE_OUTPUT line {}: {why}", index + 1);
        let (name, value) = pair(line, masks).map_err(wrong)?;
        values.insert(name, value);
        if values.len() > VALUES_MAX {
            return Err(wrong(format!("more than {VALUES_MAX} values")));
        }
    }
    Ok(values)
}

fn pair(line: &[u8], masks: &Masks) -> Result<(String, Clean), String> {
    let line = std::str::from_utf8(line).map_err(|_| "it is no UTF-8".to_owned())?;
    let (name, value) = line
        .split_once('=')
        .ok_or("write NAME=VALUE; it has no `=`")?;
    if !is_name(name) {
        let shown = Clean::line(name, NAME_BYTES_MAX);
        return Err(format!(
            "`{shown}` is no name; use a to z, 0 to 9 and _, beginning with a letter"
        ));
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(format!("{name} is longer than {VALUE_BYTES_MAX} bytes"));
    }
    if masks.hide(value) != value {
        return Err(format!("{name} holds a secret, and values are recorded"));
    }
    let clean = Clean::new(value);
    if clean.as_str() != value {
        return Err(format!("{name} holds characters that cannot be seen"));
    }
    Ok((name.to_owned(), clean))
}

fn is_name(name: &str) -> bool {
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    begins_well && name.len() <= NAME_BYTES_MAX && name.chars().all(is_plain)
}

/// A value of our own making, cut to what a value may hold.
pub(super) fn own(text: &str) -> Clean {
    let clean = Clean::line(text, VALUE_BYTES_MAX / 4);
    match clean.as_str().len() <= VALUE_BYTES_MAX {
        true => clean,
        // Characters of four bytes, each, and the word on what is missing.
        false => Clean::line(text, VALUE_BYTES_MAX / 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, Clean>, String> {
        let mut masks = Masks::default();
        masks.add("TOKEN", "hunter2-token");
        parse(text.as_bytes(), &masks)
    }

    #[test]
    fn values_are_read_and_the_last_one_of_a_name_counts() {
        let values = read("version=1.2\n\nurl=https://a/?b=c\r\nversion=1.3\n").expect("read");
        let texts: Vec<_> = values
            .iter()
            .map(|(name, value)| (&**name, value.as_str()))
            .collect();
        assert_eq!(texts, [("url", "https://a/?b=c"), ("version", "1.3")]);
        assert!(read("").expect("nothing is no fault").is_empty());
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        let many: String = (0..=VALUES_MAX).map(|n| format!("v{n}=x\n")).collect();
        let long = format!("a=b\nlong={}", "x".repeat(VALUE_BYTES_MAX + 1));
        for (text, line, why) in [
            ("a=b\nno equals", "line 2", "NAME=VALUE"),
            ("Version=1", "line 1", "is no name"),
            ("=1", "line 1", "is no name"),
            ("a=\u{202e}b", "line 1", "cannot be seen"),
            ("a=1\nb=hunter2-token", "line 2", "holds a secret"),
            (&*long, "line 2", "longer than 1024"),
            (&*many, "line 33", "more than 32"),
        ] {
            let said = read(text).expect_err(text);
            assert!(said.contains(line) && said.contains(why), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        let said = parse(b"a=\xff", &Masks::default()).expect_err("no UTF-8");
        assert!(said.contains("line 1"), "{said}");
        let huge = vec![b'\n'; usize::try_from(FILE_BYTES_MAX).expect("it fits") + 1];
        assert!(parse(&huge, &Masks::default()).is_err());
    }

    #[test]
    fn an_own_value_fits() {
        for text in ["short", &"x".repeat(9_000), &"\u{1F600}".repeat(9_000)] {
            assert!(own(text).as_str().len() <= VALUE_BYTES_MAX);
        }
    }
}

//! Words for a POSIX shell.

use std::path::Path;

/// One word, whatever is in it.
pub(super) fn word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(&b);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A path as one word.
pub(super) fn path(path: &Path) -> String {
    word(&path.to_string_lossy())
}

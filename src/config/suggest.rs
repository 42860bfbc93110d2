//! What a person may have meant: the nearest word by edit distance, or another tool's word for
//! the same thing.

use super::errors::quoted;

/// Longest word compared; longer ones are no slip of the hand.
const WORD_MAX: usize = 64;

/// Shortest beginning of a word that stands for the whole.
const PREFIX_MIN: usize = 3;

/// Words that other tools use, with ours.
const SYNONYMS: [(&str, &str); 13] = [
    ("port", "listen"),
    ("bind", "listen"),
    ("replicas", "instances"),
    ("count", "instances"),
    ("environment", "env"),
    ("environments", "env"),
    ("variable", "variables"),
    ("cmd", "command"),
    ("args", "command"),
    ("cwd", "directory"),
    ("workdir", "directory"),
    ("healthcheck", "health"),
    ("colour", "accent"),
];

/// The known word a person most likely meant, if any is near enough.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_MAX {
        return None;
    }
    let synonym = SYNONYMS.iter().find(|(theirs, _)| *theirs == word);
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let mut best = None;
    for candidate in known {
        if synonym.is_some_and(|(_, ours)| *ours == candidate) {
            return Some(candidate);
        }
        if word.len() >= PREFIX_MIN && candidate.starts_with(word) {
            return Some(candidate);
        }
        let distance = distance(&word.to_lowercase(), &candidate.to_lowercase());
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A mend for an unknown word: the nearest known one, else all of them.
pub(super) fn mend<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match (nearest(word, known.iter().copied()), known.as_slice()) {
        (Some(near), _) => format!("did you mean {}?", quoted(near)),
        (None, []) => "remove it".to_owned(),
        (None, all) => format!("use one of: {}", all.join(", ")),
    }
}

/// Edits between two words: a character put in, left out, replaced, or swapped with the next.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_is_recognised_and_a_stranger_is_not() {
        let known = ["instances", "command", "listen", "health"];
        assert_eq!(nearest("instnaces", known), Some("instances"));
        assert_eq!(nearest("Command", known), Some("command"));
        assert_eq!(nearest("port", known), Some("listen"));
        assert_eq!(nearest("inst", known), Some("instances"));
        assert_eq!(nearest("roles", known), None);
        assert_eq!(nearest(&"i".repeat(10_000), known), None);
    }

    #[test]
    fn distance_counts_single_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("soak", "soka"), 1);
        assert_eq!(distance("steps", "step"), 1);
        assert_eq!(distance("weight", "wieght"), 1);
    }
}

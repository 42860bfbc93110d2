//! One line of the doctor's report.

use crate::model::Clean;
use serde::Serialize;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// Nothing is wrong with it; people should know.
    Note,
    /// It must be mended.
    Bad,
    /// It must be mended: it does not answer at all.
    Unreachable,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Which check it is: stable, for scripts.
    pub(super) key: String,
    /// What was looked at, for people.
    pub(super) what: Clean,
    pub(super) state: State,
    /// What was found, and the mend where one is needed.
    pub(super) text: Clean,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    key: String,
    what: Clean,
}

impl Subject {
    pub(super) fn new(key: &str, what: &str) -> Self {
        Self {
            key: key.to_owned(),
            what: what.into(),
        }
    }

    /// A part of it.
    pub(super) fn part(&self, key: &str) -> Self {
        Self {
            key: format!("{}.{key}", self.key),
            what: self.what.clone(),
        }
    }

    pub(super) fn ok(&self, text: &str) -> Finding {
        self.found(State::Ok, text)
    }

    pub(super) fn note(&self, text: &str) -> Finding {
        self.found(State::Note, text)
    }

    pub(super) fn bad(&self, text: &str) -> Finding {
        self.found(State::Bad, text)
    }

    pub(super) fn unreachable(&self, text: &str) -> Finding {
        self.found(State::Unreachable, text)
    }

    fn found(&self, state: State, text: &str) -> Finding {
        Finding {
            key: self.key.clone(),
            what: self.what.clone(),
            state,
            text: text.into(),
        }
    }
}

/// A size as people read it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit);
    match unit {
        Some((word, unit)) => format!("{:.1} {word}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well_and_parts_keep_what_they_are_of() {
        assert_eq!(size(12), "12 B");
        assert_eq!(size(1_536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
        let part = Subject::new("balancer", "lb").part("socket").note("open");
        assert_eq!(
            (part.key.as_str(), part.what.as_str()),
            ("balancer.socket", "lb")
        );
    }
}

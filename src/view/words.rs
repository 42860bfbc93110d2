//! Numbers and spans of time as people read them.

use crate::model::entry::Shares;
use crate::model::world::Evidence;
use crate::model::{Release, ReleaseId};
use std::collections::BTreeMap;

/// `exit status 1, 2 restarts, 31 lines of output`.
pub fn evidence(left: &Evidence) -> String {
    let ended = left.ended.as_ref();
    let ended = ended.map_or_else(|| "it was still running".to_owned(), ToString::to_string);
    let restarts = match left.restarts {
        0 => String::new(),
        1 => ", 1 restart".to_owned(),
        more => format!(", {more} restarts"),
    };
    let output = match (&left.log_trouble, left.log.len()) {
        (Some(why), 0) => format!("its output cannot be read: {why}"),
        (_, 0) => "no output".to_owned(),
        (_, 1) => "1 line of output".to_owned(),
        (_, lines) => format!("{lines} lines of output"),
    };
    format!("{ended}{restarts}, {output}")
}

/// `v2 25%, v1 75%`, the newest release first.
pub fn shares(releases: &BTreeMap<ReleaseId, Release>, shares: &Shares) -> String {
    let mut known: Vec<_> = shares
        .iter()
        .filter(|(_, percent)| **percent > 0)
        .map(|(id, percent)| (releases.get(id), percent))
        .collect();
    known.sort_by_key(|(release, _)| std::cmp::Reverse(release.map(|release| release.created_ms)));
    let text = |(release, percent): &(Option<&Release>, &u8)| {
        let version = release.map_or("?", |release| release.version.as_str());
        format!("{version} {percent}%")
    };
    known.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// `1:05`, `12:30`, `2:00:00`.
pub fn clock(ms: u64) -> String {
    let s = ms / 1_000;
    match s / 3_600 {
        0 => format!("{:02}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// `10 s`, `5 min`, `1 h 30 min`, `250 ms`.
pub fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => match ms % 1_000 {
            0 => format!("{} s", ms / 1_000),
            _ => format!("{:.1} s", ms as f64 / 1_000.0),
        },
        120_000..3_600_000 => format!("{} min", ms / 60_000),
        _ => match ms / 60_000 % 60 {
            0 => format!("{} h", ms / 3_600_000),
            minutes => format!("{} h {minutes} min", ms / 3_600_000),
        },
    }
}

/// A percentage without needless decimals: `5 %`, `33.3 %`.
pub fn percent(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    match rounded.fract() == 0.0 {
        true => format!("{rounded:.0} %"),
        false => format!("{rounded:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares_read_well() {
        assert_eq!(clock(65_000), "01:05");
        assert_eq!(clock(7_200_000), "2:00:00");
        assert_eq!(span(300_000), "5 min");
        assert_eq!(span(10_000), "10 s");
        assert_eq!(span(5_400_000), "1 h 30 min");
        assert_eq!(percent(33.333), "33.3 %");
        assert_eq!(percent(5.0), "5 %");
    }
}

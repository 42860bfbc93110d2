//! `judge replay` with a file of samples: verdicts, exit codes, and what is said of bad input.

use crate::support::*;
use serde_json::Value;
use std::fmt::Write;

const EMPTY: &str = "";

/// Ten minutes of stable alone, then both for `intervals`; the canary's errors go round.
fn samples(intervals: u64, canary_errors: &[u64]) -> String {
    let mut text = "time_ms,set,requests,errors\n".to_owned();
    for n in 0..120 + intervals {
        let at_ms = 1_700_000_000_000 + (n + 1) * 5_000;
        writeln!(text, "{at_ms},stable,450,{}", 2 + n % 2).expect("a line");
        if let Some(at) = n.checked_sub(120) {
            let errors = canary_errors[at as usize % canary_errors.len()];
            writeln!(text, "{at_ms},canary,50,{errors}").expect("a line");
        }
    }
    text
}

const BEGAN_MS: u64 = 1_700_000_000_000 + 121 * 5_000;

struct Judge(Place);

impl Judge {
    fn of(text: &str) -> Self {
        let place = Place::with(EMPTY);
        std::fs::write(place.dir.path().join("s.csv"), text).expect("written");
        Self(place)
    }

    /// Without any configuration.
    fn run(&self, args: &[&str]) -> Said {
        let mut command = std::process::Command::new(PROGRAM);
        let command = command.arg("judge").arg("replay").args(args);
        let said = command
            .current_dir(self.0.dir.path())
            .output()
            .expect("it runs");
        Said {
            code: said.status.code().expect("no signal"),
            out: String::from_utf8(said.stdout).expect("UTF-8"),
            err: String::from_utf8(said.stderr).expect("UTF-8"),
        }
    }

    fn json(&self, code: i32) -> Value {
        self.run(&["s.csv", "--json"]).must(code).json()
    }
}

#[test]
fn a_sound_release_passes_with_0_at_the_last_row() {
    let judge = Judge::of(&samples(120, &[0, 0, 1, 0]));
    let said = judge.json(0);
    assert_eq!(said["verdict"], "pass");
    assert_eq!(said["decided_at_ms"], BEGAN_MS + 119 * 5_000);
    assert_eq!(said["canary_requests"], 6_000);
    let rows = said["evidence"].as_array().expect("rows");
    let row = rows
        .iter()
        .find(|row| row["rule"] == "errors_compared")
        .expect("compared");
    assert!(
        row["compared"]["evidence"]["log10_worse"].is_number(),
        "{row}"
    );
    let words = judge.run(&["s.csv"]).must(0).out;
    assert!(
        words.contains("pass at ") && words.contains("judged by the defaults"),
        "{words}"
    );
    assert!(
        words.contains("evidence that the canary has more errors"),
        "{words}"
    );
}

#[test]
fn three_and_ten_times_the_errors_fail_with_1_below_the_absolute_limit() {
    for (errors, within_ms) in [(&[1, 1, 0][..], 180_000), (&[2, 3][..], 30_000)] {
        let said = Judge::of(&samples(120, errors)).json(1);
        assert_eq!(said["verdict"], "fail");
        let at_ms = said["decided_at_ms"].as_u64().expect("decided");
        assert!(at_ms - BEGAN_MS < within_ms, "{at_ms}");
        let because = said["because"].as_str().expect("a text");
        assert!(because.contains("worse than tolerated"), "{because}");
    }
}

#[test]
fn few_requests_are_inconclusive_and_none_no_data_both_with_2() {
    let few = Judge::of(&samples(3, &[0])).json(2);
    assert_eq!(
        (&few["verdict"], &few["decided_at_ms"]),
        (&"inconclusive".into(), &Value::Null)
    );
    for text in [samples(0, &[0]), "time_ms,set,requests,errors\n".to_owned()] {
        let none = Judge::of(&text).json(2);
        assert_eq!(
            (&none["verdict"], &none["canary_requests"]),
            (&"no_data".into(), &0.into())
        );
        assert!(none["evidence"].as_array().is_some_and(Vec::is_empty));
    }
}

#[test]
fn bad_input_ends_with_64_and_says_where_and_what_to_do() {
    let text = samples(3, &[0]).replace("canary", "kanary");
    let said = Judge::of(&text).run(&["s.csv"]).must(64);
    assert!(
        said.err.contains("s.csv:123: column set: \"kanary\""),
        "{said:?}"
    );
    assert!(said.err.contains("; write canary or stable"), "{said:?}");
    let said = Judge::of(&text).run(&["s.csv", "--json"]).must(64).json();
    assert_eq!(said["exit"], 64);
    let judge = Judge::of("");
    assert!(
        judge
            .run(&["s.csv"])
            .must(64)
            .err
            .contains("s.csv:1: is empty")
    );
    assert!(
        judge
            .run(&["t.csv"])
            .must(64)
            .err
            .contains("there is no such file")
    );
    assert!(judge.run(&[]).must(64).err.contains("--help"));
}

#[test]
fn a_rollout_s_id_is_refused_and_says_why() {
    for id in ["#12", "12", "01900000-0000-7000-8000-000000000002"] {
        let said = Judge::of("").run(&[id]).must(3);
        assert!(said.err.contains("not kept in the history"), "{said:?}");
    }
}

#[test]
fn a_configuration_judges_and_another_one_beside_it() {
    let judge = Judge::of(&samples(120, &[1, 1, 0]));
    let write = |name: &str, text: &str| {
        std::fs::write(judge.0.dir.path().join(name), text).expect("written");
    };
    write("off.toml", "[analysis]\nfalse_alarm_per_rollout = false\n");
    write("strict.toml", "[analysis]\nerror_ratio = 0.001\n");
    let said = judge
        .run(&["s.csv", "--json", "--config", "off.toml"])
        .must(0)
        .json();
    assert_eq!(said["verdict"], "pass", "nothing else finds it");
    let args = [
        "s.csv",
        "--json",
        "--config",
        "off.toml",
        "--compare",
        "strict.toml",
    ];
    let said = judge.run(&args).must(0).json();
    assert_eq!(said["compare"]["verdict"], "fail");
    assert_eq!(said["compare"]["config"], "strict.toml");
    let words = judge.run(&["s.csv", "--compare", "off.toml"]).must(1).out;
    assert!(words.contains("judged by off.toml"), "{words}");
    write("p99.toml", "[analysis]\nlatency_p99_ms = 500\n");
    let said = judge.run(&["s.csv", "--config", "p99.toml"]).must(64);
    assert!(
        said.err
            .contains("p99.toml:2: analysis.latency_p99_ms: 500 ms is no edge"),
        "{said:?}"
    );
    write("bad.toml", "[analysis]\ntolerated_ratio = 3\n");
    let said = judge.run(&["s.csv", "--config", "bad.toml"]).must(78);
    assert!(said.err.contains("too close to tell apart"), "{said:?}");
}

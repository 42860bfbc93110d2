//! What haproxy.cfg says of the log lines of one backend's requests: frontends write them, not
//! backends.

use super::{Section, effective_lines};

/// Levels above `info`, at which requests are logged.
const ABOVE_INFO: [&str; 6] = ["emerg", "alert", "crit", "err", "warning", "notice"];

/// How the requests of one backend are logged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct LogFacts {
    /// Directory HAProxy locks itself into.
    pub(in super::super) chroot: Option<String>,
    /// The frontends that name the backend.
    pub(in super::super) frontends: Vec<FrontendLog>,
}

/// How one frontend logs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct FrontendLog {
    /// `frontend NAME` or `listen NAME`.
    pub(in super::super) name: String,
    /// Where its lines go, as written.
    pub(in super::super) targets: Vec<String>,
    /// What keeps lines from being written, or from being understood.
    pub(in super::super) faults: Vec<String>,
}

/// Reads the facts of one backend.
pub(super) fn facts(sections: &[Section], backend: &str) -> LogFacts {
    let globals = || sections.iter().filter(|section| section.kind() == "global");
    let of_global = |first: &str| -> Vec<&Vec<String>> {
        let lines = globals().flat_map(|section| &section.lines);
        lines.filter(|line| line[0] == first).collect()
    };
    let logs = of_global("log");
    let leads_there = |at: usize| {
        let section = &sections[at];
        let named = |line: &&Vec<String>| {
            matches!(line[0].as_str(), "default_backend" | "use_backend")
                && line.get(1).is_some_and(|name| name == backend)
        };
        match section.kind() {
            "listen" if section.name() == Some(backend) => true,
            "listen" | "frontend" => effective_lines(sections, at).iter().any(named),
            _ => false,
        }
    };
    let frontends = (0..sections.len()).filter(|at| leads_there(*at));
    LogFacts {
        chroot: of_global("chroot")
            .last()
            .and_then(|line| line.get(1))
            .cloned(),
        frontends: frontends
            .map(|at| {
                let name = format!(
                    "{} {}",
                    sections[at].kind(),
                    sections[at].name().unwrap_or("")
                );
                frontend(name, &effective_lines(sections, at), &logs)
            })
            .collect(),
    }
}

fn frontend(name: String, lines: &[&Vec<String>], global: &[&Vec<String>]) -> FrontendLog {
    let mut found = FrontendLog {
        name,
        ..FrontendLog::default()
    };
    let mut logs: Vec<&Vec<String>> = Vec::new();
    let mut format = None;
    for line in lines {
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        match words[..] {
            ["no", "log", ..] => logs.clear(),
            ["log", "global", ..] => logs.extend(global),
            ["log", ..] => logs.push(line),
            ["option", "httplog", ..] => format = Some("httplog"),
            ["option", "tcplog", ..] => format = Some("`option tcplog`"),
            ["option", "httpslog", ..] => format = Some("`option httpslog`"),
            ["log-format", ..] => format = Some("`log-format`"),
            ["option", "dontlog-normal", ..] => {
                found
                    .faults
                    .push("`option dontlog-normal` keeps good answers out; remove it".to_owned());
            }
            _ => {}
        }
    }
    for log in logs {
        found.targets.extend(log.get(1).cloned());
        let has = |words: &[&str]| {
            log.iter()
                .skip(2)
                .find(|word| words.contains(&word.as_str()))
        };
        // The facility comes before the level, and no facility is called as a level is.
        if let Some(level) = has(&ABOVE_INFO) {
            found.faults.push(format!(
                "its `log` line lets only `{level}` through; make it `info`"
            ));
        }
        if has(&["sample"]).is_some() {
            found
                .faults
                .push("its `log` line is a `sample`; remove that".to_owned());
        }
    }
    match format {
        Some("httplog") => {}
        Some(other) => found
            .faults
            .push(format!("{other} is not understood; use `option httplog`")),
        None => found
            .faults
            .push("there is no `option httplog`; add it".to_owned()),
    }
    found
}

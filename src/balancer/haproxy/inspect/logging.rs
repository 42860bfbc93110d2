//! What keeps HAProxy's log lines from arriving, in lines with the mend.

use super::super::configuration::LogFacts;
use crate::model::LogAddress;
use std::path::Path;

/// Judges what haproxy.cfg says against where the engine listens.
pub(super) fn lines(facts: &LogFacts, wanted: &LogAddress) -> Vec<String> {
    let written = match as_written(wanted, facts.chroot.as_deref()) {
        Ok(written) => written,
        Err(why) => return vec![why],
    };
    if facts.frontends.is_empty() {
        return vec![format!(
            "no frontend of haproxy.cfg names this backend, so whether its requests are logged to \
             {written} cannot be seen; name it with `default_backend` or `use_backend`"
        )];
    }
    let mut lines = Vec::new();
    for frontend in &facts.frontends {
        let name = &frontend.name;
        if !frontend.targets.iter().any(|target| same(target, &written)) {
            lines.push(format!(
                "{name} does not log to {written}; add `log {written} len 2048 format rfc5424 \
                 local0 info` and `option httplog` to it"
            ));
            continue;
        }
        lines.extend(
            frontend
                .faults
                .iter()
                .map(|fault| format!("{name}: {fault}")),
        );
    }
    lines
}

/// The address as haproxy.cfg must name it: below `chroot` HAProxy sees another path.
fn as_written(wanted: &LogAddress, chroot: Option<&str>) -> Result<String, String> {
    let (LogAddress::Path(path), Some(root)) = (wanted, chroot) else {
        return Ok(wanted.to_string());
    };
    match path.strip_prefix(root) {
        Ok(inside) => Ok(Path::new("/").join(inside).display().to_string()),
        Err(_) => Err(format!(
            "HAProxy's `chroot {root}` hides {wanted} from it; put the socket below {root}, or log \
             to an address such as 127.0.0.1:5140"
        )),
    }
}

fn same(target: &str, written: &str) -> bool {
    let bare = target
        .strip_prefix("unix@")
        .or_else(|| target.strip_prefix("udp@"))
        .unwrap_or(target);
    bare == written
}

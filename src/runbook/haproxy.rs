//! HAProxy by hand: its stats socket through socat.

use super::{Step, Target, Way, shell};
use crate::model::effect::ServerSetting;
use crate::model::world::Admin;
use crate::model::{Clean, Name, ServerName};
use std::path::Path;

pub(super) struct Haproxy<'a> {
    pub(super) socket: &'a Path,
    pub(super) state_file: &'a Path,
    pub(super) backend: &'a Name,
}

impl Haproxy<'_> {
    /// Sends a line to the socket. The address type is named, so that a socket that is not there
    /// is an error and never a new file; and socat is to wait for a slow answer.
    fn ask(&self, line: &str) -> String {
        // What separates parts of an address would do so within the path too.
        let socket = self.socket.to_string_lossy();
        let escaped: String = socket
            .chars()
            .flat_map(|c| {
                let special = ",:!\"'\\()[]{}".contains(c);
                special.then_some('\\').into_iter().chain([c])
            })
            .collect();
        let address = shell::word(&format!("UNIX-CONNECT:{escaped}"));
        format!("echo \"{line}\" | socat -t 5 stdio {address}")
    }

    fn change(&self, (server, setting): &(ServerName, ServerSetting)) -> String {
        let place = format!("{}/{server}", self.backend);
        let weight = format!("set weight {place} {}", setting.weight);
        let state = |word: &str| format!("set server {place} state {word}");
        match setting.admin {
            Admin::Ready => format!("{weight}; {}", state("ready")),
            Admin::Drain => format!("{}; {weight}", state("drain")),
            Admin::Maintenance => format!("{}; {weight}", state("maint")),
        }
    }
}

impl Way for Haproxy<'_> {
    fn steps(&self, target: &Target<'_>) -> Vec<Step> {
        let changes: Vec<_> = target.settings.iter().map(|it| self.change(it)).collect();
        let backend = self.backend;
        let table = self.ask(&format!("show servers state {backend}"));
        let (file, fresh) = (
            shell::path(self.state_file),
            shell::word(&format!("{}.new", self.state_file.to_string_lossy())),
        );
        let expected: Vec<_> = target.settings.iter().map(expected).collect();
        let step = |what: &str, command: String, needed| Step {
            what: Clean::new(what),
            command,
            needed,
        };
        vec![
            step(
                &format!("HAProxy, backend {backend}: all traffic to stable, in one line"),
                self.ask(&changes.join("; ")),
                true,
            ),
            step(
                &format!("Read it back; it must say: {}", expected.join(", ")),
                format!(
                    "{table} | awk '$2 == \"{backend}\" {{ print $4, ($7 % 2 ? \"maint\" : \
                     \"ready\"), $8 }}'"
                ),
                true,
            ),
            step(
                "Keep it over a reload: HAProxy takes weights and states from this file",
                format!("{table} > {fresh} && mv {fresh} {file}"),
                true,
            ),
        ]
    }
}

fn expected((server, setting): &(ServerName, ServerSetting)) -> String {
    match setting.admin {
        Admin::Maintenance => format!("{server} maint {}", setting.weight),
        Admin::Ready | Admin::Drain => format!("{server} ready {}", setting.weight),
    }
}

//! The embedded proxy by hand: HTTP on its host's socket.

use super::{Step, Target, Way, shell};
use crate::host::wire::{SettingBody, VERSION};
use crate::model::{Clean, Name};
use std::path::Path;

pub(super) struct Embedded<'a> {
    pub(super) socket: &'a Path,
    pub(super) backend: &'a Name,
}

impl Way for Embedded<'_> {
    fn steps(&self, target: &Target<'_>) -> Vec<Step> {
        let (socket, backend) = (shell::path(self.socket), self.backend);
        let settings = target.settings.iter();
        let body: Vec<_> = settings
            .map(|(server, setting)| SettingBody {
                server: server.clone(),
                setting: *setting,
            })
            .collect();
        let body = serde_json::to_string(&body).expect("invariant: names and numbers are JSON");
        let curl = format!("curl -sS --fail-with-body --max-time 5 --unix-socket {socket}");
        let at = format!("http://host/{VERSION}/backends/{backend}");
        vec![
            Step {
                what: Clean::new(&format!(
                    "The embedded proxy, backend {backend}: all traffic to stable"
                )),
                command: format!(
                    "{curl} -X PUT -H 'content-type: application/json' -d {} {at}/servers",
                    shell::word(&body)
                ),
                needed: true,
            },
            Step {
                what: "Read it back: admin and weight of each server".into(),
                command: format!("{curl} {at}"),
                needed: true,
            },
        ]
    }
}

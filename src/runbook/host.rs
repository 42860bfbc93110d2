//! The embedded host by hand: its instances are its child processes, and it keeps them by itself.

use super::{Step, Target, Way, shell};
use crate::host::wire::VERSION;
use crate::model::{Clean, RuntimeName, ServerName};
use std::path::Path;

pub(super) struct Host<'a> {
    pub(super) socket: &'a Path,
    pub(super) runtime: &'a RuntimeName,
}

impl Way for Host<'_> {
    fn steps(&self, target: &Target<'_>) -> Vec<Step> {
        let (socket, placement) = (shell::path(self.socket), target.placement);
        let curl = format!("curl -sS --fail-with-body --max-time 90 --unix-socket {socket}");
        let at = format!("http://host/{VERSION}/instances/{placement}");
        let mut steps = vec![Step {
            what: "The host and its instances. It restarts stable's by itself; where it does not \
                   answer, start it again (`wheelhouse host`): it starts what it ran before"
                .into(),
            command: format!("{curl} {at}"),
            needed: false,
        }];
        let grace_ms = target.place.spec.workload.stop_grace_ms;
        let others = target.place.instances.iter();
        let stop = |server: &ServerName| Step {
            what: Clean::new(&format!(
                "Only once it has no traffic and no session left: stop the instance behind {server}"
            )),
            command: format!("{curl} -X DELETE {at}/{server}?grace_ms={grace_ms}"),
            needed: false,
        };
        steps.extend(
            others
                .filter(|(server, instance)| {
                    instance.release != target.stable
                        && target.place.spec.runtime_of(server) == Some(self.runtime)
                })
                .map(|(server, _)| stop(server)),
        );
        steps
    }
}

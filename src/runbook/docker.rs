//! A Docker daemon by hand: its containers are known by their labels, whatever they are called.

use super::{Step, Target, Way, shell};
use crate::model::{Clean, ReleaseId, RuntimeName};
use std::collections::BTreeSet;

pub(super) struct Docker<'a> {
    /// The `docker` command with what leads to the daemon.
    pub(super) command: &'a [String],
    pub(super) runtime: &'a RuntimeName,
}

impl Docker<'_> {
    fn docker(&self) -> String {
        let words: Vec<_> = self.command.iter().map(|word| shell::word(word)).collect();
        words.join(" ")
    }

    /// What selects the placement's containers, of one release or of all.
    fn filters(target: &Target<'_>, release: Option<ReleaseId>) -> String {
        let mut filters = format!(
            "--filter label=wheelhouse.service={} --filter label=wheelhouse.environment={}",
            target.placement.service, target.placement.environment
        );
        if let Some(release) = release {
            filters.push_str(&format!(" --filter label=wheelhouse.release={release}"));
        }
        filters
    }
}

impl Way for Docker<'_> {
    fn steps(&self, target: &Target<'_>) -> Vec<Step> {
        let (docker, place) = (self.docker(), target.place);
        let filters = |release| Self::filters(target, release);
        let grace_s = place.spec.workload.stop_grace_ms.div_ceil(1_000);
        let here = |server| place.spec.runtime_of(server) == Some(self.runtime);
        let others: BTreeSet<_> = place
            .instances
            .iter()
            .filter(|(server, there)| there.release != target.stable && here(server))
            .map(|(_, there)| there.release)
            .collect();
        let mut steps = vec![
            Step {
                what: Clean::new(&format!("The containers on {}", self.runtime)),
                command: format!("{docker} ps -a {}", filters(None)),
                needed: false,
            },
            Step {
                what: "Start what is down of stable; what runs is left alone".into(),
                // What failed is kept under such a name, as evidence: another stands in its place.
                command: format!(
                    "{docker} ps -a --format '{{{{.Names}}}}' {} | grep -v '^wheelhouse-failed-' | \
                     xargs -r {docker} start",
                    filters(Some(target.stable))
                ),
                needed: false,
            },
        ];
        steps.extend(others.into_iter().map(|release| Step {
            what: "Only once they have no traffic and no session left: stop the others".into(),
            command: format!(
                "{docker} ps -q {} | xargs -r {docker} stop -t {grace_s}",
                filters(Some(release))
            ),
            needed: false,
        }));
        steps
    }
}

//! The labels by which our containers are known, and the names they have. Pure.

use crate::model::container::Container;
use crate::model::service::Workload;
use crate::model::{Placement, ReleaseId, ServerName};
use crate::ports::Start;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// The release's id.
pub const RELEASE: &str = "wheelhouse.release";
pub const SERVICE: &str = "wheelhouse.service";
pub const ENVIRONMENT: &str = "wheelhouse.environment";
const SERVER: &str = "wheelhouse.server";
const EFFECT: &str = "wheelhouse.effect";
/// The number of the rollout that began it, for people; containers of older versions have none.
const ROLLOUT: &str = "wheelhouse.rollout";
const ADDRESS: &str = "wheelhouse.address";
const SHAPE: &str = "wheelhouse.shape";
/// How the name of a container begins that is kept as evidence only; its end is when, in seconds.
const EVIDENCE: &str = "wheelhouse-failed-";

/// What a release's containers were asked to be, kept on them to tell what the next one changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The container, without any value of a secret.
    pub container: Container,
    /// The variables written in the configuration.
    pub env: BTreeMap<String, String>,
}

/// One of our containers, by its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Whose.
    pub placement: Placement,
    /// The server it stands behind.
    pub server: ServerName,
    /// The release it is.
    pub release: ReleaseId,
    /// The server's address when it was created.
    pub address: Option<SocketAddr>,
    /// What it was asked to be.
    pub asked: Option<Asked>,
}

/// The labels of a new container.
pub fn of(start: &Start, workload: &Workload) -> Vec<(String, String)> {
    let asked = workload.container.as_ref().map(|container| Asked {
        container: (**container).clone(),
        env: workload.env.clone(),
    });
    let shape = asked.and_then(|asked| serde_json::to_string(&asked).ok());
    let labels = [
        (RELEASE, start.release.to_string()),
        (SERVICE, start.placement.service.to_string()),
        (ENVIRONMENT, start.placement.environment.to_string()),
        (SERVER, start.server.to_string()),
        (EFFECT, start.id.to_string()),
        (ADDRESS, start.address.to_string()),
        (SHAPE, shape.unwrap_or_default()),
    ];
    let rollout = start.rollout.map(|number| (ROLLOUT, number.0.to_string()));
    labels
        .into_iter()
        .chain(rollout)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Whose container one is, by its labels.
pub fn whose(labels: &HashMap<String, String>) -> Option<Placement> {
    Some(Placement {
        service: labels.get(SERVICE)?.parse().ok()?,
        environment: labels.get(ENVIRONMENT)?.parse().ok()?,
    })
}

/// Reads a container's labels; `None` when it is not ours.
pub fn read(labels: &HashMap<String, String>) -> Option<Known> {
    Some(Known {
        placement: whose(labels)?,
        server: labels.get(SERVER)?.parse().ok()?,
        release: ReleaseId(labels.get(RELEASE)?.parse().ok()?),
        address: labels.get(ADDRESS).and_then(|text| text.parse().ok()),
        asked: labels
            .get(SHAPE)
            .and_then(|text| serde_json::from_str(text).ok()),
    })
}

/// The name of an instance's container: the same for the same start.
pub fn name(start: &Start) -> String {
    let release = start.release.0.simple().to_string();
    let (_, short) = release.split_at(release.len() - 12);
    let Placement {
        service,
        environment,
    } = &start.placement;
    format!(
        "wheelhouse-{service}-{environment}-{}-{short}",
        start.server
    )
}

/// The name under which a failed instance is kept.
pub fn evidence_name(name: &str, now_s: u64) -> String {
    let name = name.trim_start_matches('/');
    let name = name.strip_prefix("wheelhouse-").unwrap_or(name);
    format!("{EVIDENCE}{name}-{now_s}")
}

/// Since when a container is kept as evidence, in seconds; `None` when it is none.
pub fn evidence_since_s(name: &str) -> Option<u64> {
    let rest = name.trim_start_matches('/').strip_prefix(EVIDENCE)?;
    rest.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RolloutNumber;

    #[test]
    fn evidence_is_known_by_its_name() {
        let name = evidence_name("/wheelhouse-shop-dev-web1-0123456789ab", 1_700_000_000);
        assert_eq!(
            name,
            "wheelhouse-failed-shop-dev-web1-0123456789ab-1700000000"
        );
        assert_eq!(evidence_since_s(&format!("/{name}")), Some(1_700_000_000));
        assert_eq!(
            evidence_since_s("/wheelhouse-shop-dev-web1-0123456789ab"),
            None
        );
    }

    #[test]
    fn the_rollout_is_told_where_one_was_open_and_needed_by_nobody() {
        let mut start = Start {
            id: 7,
            placement: "shop@test".parse().expect("a placement"),
            server: "web1".parse().expect("a name"),
            address: "127.0.0.1:1".parse().expect("an address"),
            release: ReleaseId(uuid::Uuid::from_u128(1)),
            workload: Workload {
                command: Vec::new(),
                env: BTreeMap::new(),
                directory: None,
                stop_grace_ms: 0,
                quiet: None,
                container: None,
            },
            keep_running: false,
            rollout: None,
        };
        let labels =
            |start: &Start| -> HashMap<_, _> { of(start, &start.workload).into_iter().collect() };
        let before = labels(&start);
        start.rollout = Some(RolloutNumber(1_841));
        let with = labels(&start);
        assert_eq!(before.get(ROLLOUT), None);
        assert_eq!(with.get(ROLLOUT).map(String::as_str), Some("1841"));
        assert!(read(&before).is_some());
        assert_eq!(read(&before), read(&with), "an older container is ours too");
    }

    #[test]
    fn a_container_without_all_our_labels_is_not_ours() {
        let foreign = HashMap::from([(RELEASE.to_owned(), "x".to_owned())]);
        assert_eq!(read(&foreign), None);
    }
}

//! What a release's instances are put to. It belongs to the release, not to the estate: a version
//! that answers at `/healthz` still does when the configuration of a later one says `/ready`.

use super::service::{HealthCheck, ServiceSpec, SmokeTest};
use super::{PlacementState, ReleaseId};
use serde::{Deserialize, Serialize};

/// How the instances of a release are known to be healthy, as configured when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checks {
    /// When an instance counts as healthy.
    pub health: HealthCheck,
    /// Tests it must pass before it gets traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smoke: Vec<SmokeTest>,
    /// For all of them together, with their attempts.
    pub smoke_timeout_ms: u64,
}

impl Checks {
    /// Those of a service as it is configured now.
    pub fn of(spec: &ServiceSpec) -> Self {
        Self {
            health: spec.health.clone(),
            smoke: spec.smoke.clone(),
            smoke_timeout_ms: spec.smoke_timeout_ms,
        }
    }
}

impl PlacementState {
    /// When an instance of a release counts as healthy: as recorded with the release; for one that
    /// was recorded without it, as the newest rollout's settings say.
    pub fn health_of(&self, release: ReleaseId) -> &HealthCheck {
        self.checks_of(release)
            .map_or(&self.spec.health, |checks| &checks.health)
    }

    /// Tests a release must pass before it gets traffic.
    pub fn smoke_of(&self, release: ReleaseId) -> &[SmokeTest] {
        self.checks_of(release)
            .map_or(&self.spec.smoke, |checks| &checks.smoke)
    }

    /// For all smoke tests of a release together.
    pub fn smoke_timeout_ms_of(&self, release: ReleaseId) -> u64 {
        self.checks_of(release)
            .map_or(self.spec.smoke_timeout_ms, |checks| checks.smoke_timeout_ms)
    }

    fn checks_of(&self, release: ReleaseId) -> Option<&Checks> {
        self.releases.get(&release)?.checks.as_deref()
    }
}

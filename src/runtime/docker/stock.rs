//! Whether a release's image could still be run here: it is on the host, or its registry has it.
//! Whether it has is asked through the host's own daemon, which would pull it; only how large it is
//! is asked from here.

use super::DockerRuntime;
use super::connect::CallError;
use super::look::Certainty;
use super::registry::{self, Platform};
use crate::model::container::Pin;
use crate::model::service::Workload;
use crate::model::{Clean, Stock};
use bollard::Docker;

impl DockerRuntime {
    pub(super) async fn stock_of(&self, workload: &Workload) -> Result<Stock, CallError> {
        let Some(container) = &workload.container else {
            return Ok(Stock::unknown("the release has no image"));
        };
        let (_, docker) = self.connection.api().await?;
        let reference = container.reference();
        match docker
            .inspect_image(&reference)
            .await
            .map_err(CallError::from)
        {
            Ok(_) => return Ok(Stock::Here),
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error),
        }
        Ok(match &container.pin {
            Some(Pin::Digest(_)) => self.in_registry(&docker, &reference).await,
            Some(Pin::HostImage(_)) => Stock::Gone {
                why: "the image was on this host only; no registry has it".into(),
            },
            None => Stock::unknown("the release did not record which image it was"),
        })
    }

    async fn in_registry(&self, docker: &Docker, reference: &str) -> Stock {
        match self.ask_registry(docker, reference).await {
            Ok(_) => Stock::Pull {
                bytes: self.size(docker, reference).await,
            },
            Err((Certainty::Absent, why)) => Stock::Gone {
                why: Clean::new(&why),
            },
            Err((Certainty::Refused | Certainty::NoAnswer, why)) => Stock::unknown(&why),
        }
    }

    /// How much a pull loads at most; `None` where the registry does not tell this machine.
    async fn size(&self, docker: &Docker, reference: &str) -> Option<u64> {
        let login = self.logins.of(reference).await.ok()?;
        let version = docker.version().await.ok()?;
        let platform = Platform {
            os: version.os.unwrap_or_default(),
            architecture: version.arch.unwrap_or_default(),
        };
        registry::size(reference, login.as_ref(), &platform).await
    }
}

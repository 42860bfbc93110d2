//! Markers in the daemon: empty volumes whose labels say something. A volume needs no image, is
//! made or found by its name in one step, and its labels never change; networks of one name can be
//! made twice by askers at the same moment (tried with Docker 20.10), so they would not do.

use super::DockerRuntime;
use super::connect::CallError;
use super::labels;
use crate::model::Placement;
use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

/// What a marker says.
const TEXT: &str = "wheelhouse.lease";
/// For one call; the asker has a shorter limit where it waits itself.
const CALL: Duration = Duration::from_secs(5);

/// One marker of a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Which of them: the highest counts.
    pub number: u64,
    /// What it says.
    pub text: String,
}

impl DockerRuntime {
    /// The placement's markers, in no order.
    ///
    /// # Errors
    /// In words, when the daemon cannot be asked.
    pub async fn markers(&self, placement: &Placement) -> Result<Vec<Marker>, String> {
        self.in_words(self.list_markers(placement)).await
    }

    /// Makes the marker of this number unless there is one, and gives back the one there is then.
    /// Of several askers exactly one finds its own text.
    ///
    /// # Errors
    /// In words, when the daemon cannot be asked; the marker may be there all the same.
    pub async fn post_marker(
        &self,
        placement: &Placement,
        marker: Marker,
    ) -> Result<Marker, String> {
        self.in_words(self.make_marker(placement, marker)).await
    }

    /// Removes the marker of this number, if it is there.
    ///
    /// # Errors
    /// In words, when the daemon cannot be asked, or holds on to it.
    pub async fn remove_marker(&self, placement: &Placement, number: u64) -> Result<(), String> {
        let asked = async {
            let (_, docker) = self.connection.api().await?;
            let name = name(placement, number);
            let ended = docker.remove_volume(&name, None::<RemoveVolumeOptions>);
            match ended.await.map_err(CallError::from) {
                Err(error) if error.is_absent() => Ok(()),
                ended => ended,
            }
        };
        self.in_words(asked).await
    }

    async fn in_words<T>(
        &self,
        asked: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, String> {
        let ended = self.within(CALL, asked).await;
        ended.map_err(|error| self.unreadable(&error).to_string())
    }

    async fn list_markers(&self, placement: &Placement) -> Result<Vec<Marker>, CallError> {
        let (_, docker) = self.connection.api().await?;
        let service = format!("{}={}", labels::SERVICE, placement.service);
        let environment = format!("{}={}", labels::ENVIRONMENT, placement.environment);
        let filters = HashMap::from([("label", vec![TEXT.to_owned(), service, environment])]);
        let options = ListVolumesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let listed = docker.list_volumes(Some(options)).await?;
        let all = listed.volumes.unwrap_or_default();
        Ok(all
            .iter()
            .filter_map(|volume| read(placement, volume))
            .collect())
    }

    async fn make_marker(
        &self,
        placement: &Placement,
        marker: Marker,
    ) -> Result<Marker, CallError> {
        let (_, docker) = self.connection.api().await?;
        let name = name(placement, marker.number);
        let said = [
            (TEXT, marker.text),
            (labels::SERVICE, placement.service.to_string()),
            (labels::ENVIRONMENT, placement.environment.to_string()),
        ];
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            driver: Some("local".to_owned()),
            labels: Some(said.map(|(label, text)| (label.to_owned(), text)).into()),
            ..VolumeCreateRequest::default()
        };
        let volume = docker.create_volume(request).await?;
        read(placement, &volume).ok_or_else(|| CallError::Refused {
            status: 409,
            message: format!("a volume {name} is there that is no marker; rename or remove it"),
        })
    }
}

/// Names are joined of names that may hold the same signs; the digest tells them apart.
fn name(placement: &Placement, number: u64) -> String {
    let Placement {
        service,
        environment,
    } = placement;
    let digest = Sha256::digest(placement.to_string().as_bytes());
    let mut name = format!("wheelhouse-lease-{service}-{environment}-");
    for byte in digest.iter().take(4) {
        write!(name, "{byte:02x}").expect("invariant: a text takes what is written");
    }
    format!("{name}.{number}")
}

fn read(placement: &Placement, volume: &Volume) -> Option<Marker> {
    let text = volume.labels.get(TEXT)?.clone();
    let (_, number) = volume.name.rsplit_once('.')?;
    let number = number.parse().ok()?;
    let meant = volume.name == name(placement, number);
    meant.then_some(Marker { number, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placements_whose_names_join_alike_have_markers_of_their_own() {
        let of = |service: &str, environment: &str| Placement {
            service: service.parse().expect("a name"),
            environment: environment.parse().expect("a name"),
        };
        let (one, other) = (of("a-b", "c"), of("a", "b-c"));
        assert_ne!(name(&one, 1), name(&other, 1));
        let volume = Volume {
            name: name(&one, 12),
            labels: [(TEXT.to_owned(), "mine".to_owned())].into(),
            ..Volume::default()
        };
        let marker = read(&one, &volume).expect("a marker");
        assert_eq!((marker.number, marker.text.as_str()), (12, "mine"));
        assert_eq!(read(&other, &volume), None);
    }

    #[test]
    fn a_volume_that_says_nothing_is_no_marker() {
        let placement = "shop@test".parse().expect("a placement");
        let volume = Volume {
            name: name(&placement, 1),
            ..Volume::default()
        };
        assert_eq!(read(&placement, &volume), None);
    }
}

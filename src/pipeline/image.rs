//! The stages that build an image and push it.
//!
//! What a push came to is decided by what the registry then has under the tag, not by what the
//! command said: a push whose answer was lost is not made blindly a second time.

use super::attempt::{Attempt, Failure, Values, below};
use super::docker::{Cli, must_be_image};
use super::process::{Ended, locked};
use super::values;
use crate::model::container::repository;
use crate::model::pipeline::BuildWork;
use crate::runtime::docker::{Tagged, tagged};
use std::ffi::OsString;
use std::time::Duration;
use tokio::time::sleep;

/// How often a registry that does not answer after a push is asked.
const ASKED_AFTER_PUSH: u32 = 5;
/// Between two of those.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// The label that says which commit an image was built of, by the image specification of the OCI.
const REVISION: &str = "org.opencontainers.image.revision";

/// `docker build` in the work tree.
pub(super) async fn build(attempt: &Attempt<'_>, work: &BuildWork) -> Result<Values, Failure> {
    must_be_image(&work.image)?;
    let tree = attempt.tree();
    let context = below(&tree, &work.context)?;
    let dockerfile = below(
        &tree,
        &format!("{}/{}", relative(&work.context), work.dockerfile),
    )?;
    let cli = Cli::new(attempt).await?;
    let call = attempt.call;
    let id_file = attempt
        .place
        .run(call.run)
        .join(format!("{}.{}.iid", call.stage, call.attempt));
    let mut words: Vec<OsString> = ["build", "--tag", &work.image].map(OsString::from).into();
    words.extend(["--file".into(), dockerfile.into(), "--iidfile".into()]);
    words.push(id_file.clone().into());
    words.push(format!("--label={REVISION}={}", call.revision).into());
    let arguments = work.arguments.iter();
    words.extend(arguments.map(|(name, value)| format!("--build-arg={name}={value}").into()));
    words.push(context.clone().into());
    attempt.must_run(cli.job(attempt, words, context)).await?;
    let id = std::fs::read_to_string(&id_file)
        .map_err(|error| format!("the image's id cannot be read: {error}"))?;
    let id = id.trim();
    if !id.starts_with("sha256:") {
        return Err(Failure::Failed("docker build named no image id".to_owned()));
    }
    Ok([
        ("image".to_owned(), values::own(&work.image)),
        ("image_id".to_owned(), values::own(id)),
    ]
    .into())
}

fn relative(context: &str) -> &str {
    match context {
        "" => ".",
        context => context,
    }
}

/// `docker push`, and the digest as the registry has it.
pub(super) async fn push(attempt: &Attempt<'_>, image: &str) -> Result<Values, Failure> {
    must_be_image(image)?;
    if image.contains('@') {
        return Err(Failure::Failed(format!(
            "{image} is pinned already; push a tag"
        )));
    }
    let cli = Cli::new(attempt).await?;
    let format = ["image", "inspect", "--format", "{{.Id}}", image];
    let Some(id) = cli.ask(attempt, &format).await? else {
        return Err(Failure::Failed(format!(
            "the daemon has no image {image}; a stage before this one must build it"
        )));
    };
    let push = Push {
        attempt,
        cli,
        image,
        id,
    };
    let digest = push.go().await?;
    Ok([
        ("image".to_owned(), values::own(image)),
        ("digest".to_owned(), values::own(&digest)),
    ]
    .into())
}

struct Push<'a> {
    attempt: &'a Attempt<'a>,
    cli: Cli,
    image: &'a str,
    /// The image's id on the daemon.
    id: String,
}

/// What stands behind the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Behind {
    /// Our image, as this manifest.
    Ours(String),
    /// Another one, as this manifest.
    Other(String),
    Nothing,
    /// The registry could not be asked.
    Unseen(String),
}

impl Push<'_> {
    async fn go(&self) -> Result<String, Failure> {
        if let Behind::Ours(digest) = self.look().await? {
            self.attempt
                .say(&format!("the registry has it already, as {digest}"));
            return Ok(digest);
        }
        let words = self.cli.words(["push", self.image]);
        let directory = self.attempt.place.run(self.attempt.call.run);
        let job = self.cli.job(self.attempt, words[1..].to_vec(), directory);
        let ended = self.attempt.run(job).await;
        if let Ended::Stopped(_) | Ended::Unknown(_) | Ended::NotBegun(_) = ended {
            return Err(self.attempt.failure(&ended));
        }
        let behind = self.look_until_seen().await?;
        self.judge(&ended, behind).await
    }

    async fn judge(&self, ended: &Ended, behind: Behind) -> Result<String, Failure> {
        let image = self.image;
        match (behind, *ended == Ended::Exit(0)) {
            (Behind::Ours(digest), true) => Ok(digest),
            (Behind::Ours(digest), false) => {
                let text = format!("the push's answer was lost, but the registry has {digest}");
                self.attempt.say(&text);
                Ok(digest)
            }
            (Behind::Other(digest), true) => Err(Failure::Failed(format!(
                "the tag moved: {image} is {digest} in the registry, not what was pushed; \
                 somebody else pushes the same tag"
            ))),
            (Behind::Nothing, true) => Err(Failure::Failed(format!(
                "docker says it pushed {image}, and the registry does not have it"
            ))),
            (Behind::Other(_) | Behind::Nothing, false) => Err(self.attempt.failure(ended)),
            (Behind::Unseen(why), true) => self.by_daemon(&why).await,
            (Behind::Unseen(why), false) => Err(Failure::Unknown(format!(
                "{}, and the registry cannot be asked: {why}",
                locked(&self.attempt.output).failing().why(&ended.words())
            ))),
        }
    }

    /// The digest that the registry told the daemon, where we cannot ask the registry ourselves.
    async fn by_daemon(&self, why: &str) -> Result<String, Failure> {
        let digests = self.digests().await?;
        let Some(digest) = digests.last() else {
            return Err(Failure::Unknown(format!(
                "pushed, but what {} is in the registry cannot be read back: {why}",
                self.image
            )));
        };
        self.attempt.say(&format!(
            "the registry cannot be asked ({why}); the daemon was told {digest}"
        ));
        Ok(digest.clone())
    }

    /// Manifests that the daemon knows of this image in this repository.
    async fn digests(&self) -> Result<Vec<String>, Failure> {
        let format = "{{range .RepoDigests}}{{println .}}{{end}}";
        let asked = ["image", "inspect", "--format", format, &self.id];
        let said = self
            .cli
            .ask(self.attempt, &asked)
            .await?
            .unwrap_or_default();
        Ok(digests_in(&said, repository(self.image)))
    }

    async fn look_until_seen(&self) -> Result<Behind, Failure> {
        let mut asked = 0;
        loop {
            asked += 1;
            match self.look().await? {
                Behind::Unseen(why) if asked < ASKED_AFTER_PUSH => {
                    self.attempt
                        .say(&format!("the registry does not answer: {why}"));
                    self.attempt.until.during(sleep(ASK_AGAIN)).await?;
                }
                seen => return Ok(seen),
            }
        }
    }

    async fn look(&self) -> Result<Behind, Failure> {
        let asked = async {
            let login = self.attempt.options.docker.logins.of(self.image).await?;
            tagged(self.image, login.as_ref()).await
        };
        Ok(match self.attempt.until.during(asked).await? {
            Err(why) => Behind::Unseen(why),
            Ok(None) => Behind::Nothing,
            Ok(Some(tagged)) if is_ours(&tagged, &self.id, &self.digests().await?) => {
                Behind::Ours(tagged.digest)
            }
            Ok(Some(tagged)) => Behind::Other(tagged.digest),
        })
    }
}

/// An image's id is the digest of its settings, which its manifest names; where the daemon keeps
/// images as registries do, it is the digest of the manifest itself.
fn is_ours(tagged: &Tagged, id: &str, known: &[String]) -> bool {
    tagged.config.as_deref() == Some(id) || tagged.digest == id || known.contains(&tagged.digest)
}

/// `registry/name@sha256:…`, one on each line: the digests of one repository.
fn digests_in(said: &str, repository: &str) -> Vec<String> {
    let pairs = said.lines().filter_map(|line| line.trim().split_once('@'));
    let of_it = pairs.filter(|(name, _)| *name == repository);
    of_it.map(|(_, digest)| digest.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_ours_by_settings_by_manifest_or_by_what_the_daemon_knows() {
        let tagged = |digest: &str, config: Option<&str>| Tagged {
            digest: digest.to_owned(),
            config: config.map(str::to_owned),
        };
        let known = ["sha256:k".to_owned()];
        for (tagged, ours) in [
            (tagged("sha256:m", Some("sha256:id")), true),
            (tagged("sha256:id", None), true),
            (tagged("sha256:k", Some("sha256:other")), true),
            (tagged("sha256:m", Some("sha256:other")), false),
            (tagged("sha256:m", None), false),
        ] {
            assert_eq!(is_ours(&tagged, "sha256:id", &known), ours, "{tagged:?}");
        }
    }

    #[test]
    fn digests_of_other_repositories_do_not_count() {
        let said = "r:5000/a@sha256:1\nr:5000/b@sha256:2\n\nr:5000/a@sha256:3\n";
        assert_eq!(digests_in(said, "r:5000/a"), ["sha256:1", "sha256:3"]);
    }
}

//! The stage that runs a program in the work tree, on this machine or in a container.

use super::attempt::{Attempt, Failure, Values, below};
use super::docker::{self, Cli};
use super::environment::{self, Env};
use super::values;
use crate::model::pipeline::CommandWork;
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where a stage is told to write what it hands on.
const OUTPUT: &str = "WHEELHOUSE_OUTPUT";
/// The same inside a container.
const OUTPUT_INSIDE: &str = "/wheelhouse-output";
/// Where the work tree is mounted inside a container.
const TREE_INSIDE: &str = "/work";

pub(super) async fn run(attempt: &Attempt<'_>, work: &CommandWork) -> Result<Values, Failure> {
    let program = work.command.first().map_or("", String::as_str);
    if program.is_empty() {
        return Err(Failure::Failed("it names no program".to_owned()));
    }
    let file = values_file(attempt)?;
    let fetched = environment::secrets(&work.secrets, &attempt.output);
    let secrets = attempt.until.during(fetched).await??;
    match &work.image {
        None => on_this_machine(attempt, work, &secrets, &file).await?,
        Some(image) => in_container(attempt, work, image, &secrets, &file).await?,
    }
    let bytes = read(&file).map_err(|error| format!("{OUTPUT} cannot be read: {error}"))?;
    let masks = super::process::locked(&attempt.output).masks().clone();
    Ok(values::parse(&bytes, &masks)?)
}

async fn on_this_machine(
    attempt: &Attempt<'_>,
    work: &CommandWork,
    secrets: &BTreeMap<String, Secret>,
    file: &Path,
) -> Result<(), Failure> {
    let directory = below(
        &attempt.tree(),
        work.directory.as_deref().unwrap_or_default(),
    )?;
    let mut env = environment::inherited(&[]);
    environment::add(&mut env, &attempt.call.env);
    environment::add(&mut env, &work.env);
    env.extend(exposed(secrets));
    env.push((OUTPUT.into(), file.into()));
    let program = work.command.iter().map(OsString::from).collect();
    attempt.must_run(attempt.job(program, directory, env)).await
}

async fn in_container(
    attempt: &Attempt<'_>,
    work: &CommandWork,
    image: &str,
    secrets: &BTreeMap<String, Secret>,
    file: &Path,
) -> Result<(), Failure> {
    let tree = attempt.tree();
    below(&tree, work.directory.as_deref().unwrap_or_default())?;
    docker::must_be_image(image)?;
    let cli = Cli::here(attempt).await?;
    if let Some(name) = secrets.keys().find(|name| cli.uses(name)) {
        return Err(Failure::Failed(format!(
            "the secret {name} would change the docker command itself; give it another name"
        )));
    }
    let call = attempt.call;
    let name = docker::container_name(call.run, &call.stage, call.attempt);
    let arguments = Container {
        name: &name,
        image,
        work,
        tree: &tree,
        file,
        env: &call.env,
        secrets: secrets.keys().map(String::as_str).collect(),
    };
    let mut job = cli.job(attempt, arguments.words(), tree.clone());
    job.env.extend(exposed(secrets));
    job.cleanup = cli.words(["rm", "--force", "--volumes", &name]);
    attempt.must_run(job).await
}

fn exposed(secrets: &BTreeMap<String, Secret>) -> Env {
    let of = |(name, secret): (&String, &Secret)| (name.into(), secret.expose().into());
    secrets.iter().map(of).collect()
}

/// What `docker run` is asked. Secrets are named only: the command takes their values from its own
/// environment, where no list of processes shows them to others.
struct Container<'a> {
    name: &'a str,
    image: &'a str,
    work: &'a CommandWork,
    tree: &'a Path,
    file: &'a Path,
    env: &'a BTreeMap<String, String>,
    secrets: Vec<&'a str>,
}

impl Container<'_> {
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["run", "--rm", "--init", "--name", self.name]
            .map(OsString::from)
            .into();
        words.extend([
            mount(self.tree, TREE_INSIDE),
            mount(self.file, OUTPUT_INSIDE),
        ]);
        let directory = self.work.directory.as_deref().unwrap_or_default();
        words.push("--workdir".into());
        words.push(Path::new(TREE_INSIDE).join(directory).into());
        let set = self.env.iter().chain(&self.work.env);
        let set = set.filter(|(name, _)| environment::is_name(name));
        words.extend(set.map(|(name, value)| format!("--env={name}={value}").into()));
        words.extend(
            self.secrets
                .iter()
                .map(|name| format!("--env={name}").into()),
        );
        words.push(format!("--env={OUTPUT}={OUTPUT_INSIDE}").into());
        let (program, arguments) = match self.work.command.split_first() {
            Some((program, arguments)) => (program.as_str(), arguments),
            None => ("", &[][..]),
        };
        words.push(format!("--entrypoint={program}").into());
        words.push(self.image.into());
        words.extend(arguments.iter().map(OsString::from));
        words
    }
}

fn mount(from: &Path, inside: &str) -> OsString {
    let mut word = OsString::from("--volume=");
    word.push(from);
    word.push(":");
    word.push(inside);
    word
}

/// The empty file that a stage writes what it hands on into.
fn values_file(attempt: &Attempt<'_>) -> Result<PathBuf, String> {
    let call = attempt.call;
    let path = attempt.place.values(call.run, &call.stage, call.attempt);
    let wrong = |error: std::io::Error| format!("{OUTPUT} cannot be made: {error}");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let file = file.map_err(wrong)?;
    // Somebody else inside a container must be able to write it; nobody else outside reaches it,
    // because the run's directory is its owner's.
    let everybody = std::fs::Permissions::from_mode(0o666);
    file.set_permissions(everybody).map_err(wrong)?;
    Ok(path)
}

/// Reads at most a little more than may be there. A pipe or device somebody put in its place is
/// refused: it might never end.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file any more"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(values::FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_asked_for_without_any_value_of_a_secret() {
        let work = CommandWork {
            command: vec!["make".to_owned(), "test".to_owned()],
            image: Some("r.example/ci:1".to_owned()),
            directory: Some("service".to_owned()),
            env: [("MODE".to_owned(), "ci".to_owned())].into(),
            secrets: BTreeMap::new(),
        };
        let container = Container {
            name: "wheelhouse-x-test-1",
            image: "r.example/ci:1",
            work: &work,
            tree: Path::new("/state/tree"),
            file: Path::new("/state/test.1.values"),
            env: &[("WHEELHOUSE_COMMIT".to_owned(), "abc".to_owned())].into(),
            secrets: vec!["TOKEN"],
        };
        let words: Vec<_> = container
            .words()
            .into_iter()
            .map(|word| word.into_string().expect("text"))
            .collect();
        assert_eq!(
            words,
            [
                "run",
                "--rm",
                "--init",
                "--name",
                "wheelhouse-x-test-1",
                "--volume=/state/tree:/work",
                "--volume=/state/test.1.values:/wheelhouse-output",
                "--workdir",
                "/work/service",
                "--env=WHEELHOUSE_COMMIT=abc",
                "--env=MODE=ci",
                "--env=TOKEN",
                "--env=WHEELHOUSE_OUTPUT=/wheelhouse-output",
                "--entrypoint=make",
                "r.example/ci:1",
                "test",
            ]
        );
    }
}

//! Fetches a secret from where its reference leads, at the moment it is needed.
//!
//! What is fetched can be handed over but neither shown nor recorded: no Debug, no Serialize, no
//! error carries it.

use crate::model::secret::SecretRef;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// For one program that prints a secret.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
/// Longest secret, in bytes.
pub const SECRET_MAX_BYTES: u64 = 64 * 1024;

/// A secret in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret in.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself, for whoever must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a secret could not be fetched. It names the reference, never what was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secret {reference}: {why}")]
pub struct SecretError {
    reference: String,
    why: String,
}

/// Fetches a secret.
///
/// # Errors
/// When the reference leads nowhere, the program fails or takes longer than 10 s, or what it
/// leads to is empty, no UTF-8 or longer than [`SECRET_MAX_BYTES`].
pub async fn fetch(reference: &SecretRef) -> Result<Secret, SecretError> {
    let wrong = |why: String| SecretError {
        reference: reference.to_string(),
        why,
    };
    let text = match reference {
        SecretRef::Env(name) => {
            std::env::var(name).map_err(|_| wrong("is not set for the engine".to_owned()))?
        }
        SecretRef::File(path) => {
            let file = tokio::fs::File::open(path).await;
            let file = file.map_err(|error| wrong(error.to_string()))?;
            limited(file).await.map_err(wrong)?
        }
        SecretRef::Command(words) => command(words).await.map_err(wrong)?,
    };
    let text = text.trim_end_matches(['\n', '\r']);
    match text.is_empty() {
        true => Err(wrong("is empty".to_owned())),
        false => Ok(Secret(text.to_owned())),
    }
}

async fn limited(source: impl tokio::io::AsyncRead + Unpin) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut source = source.take(SECRET_MAX_BYTES + 1);
    let read = source.read_to_end(&mut bytes).await;
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > SECRET_MAX_BYTES {
        return Err(format!("is longer than {SECRET_MAX_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is no UTF-8".to_owned())
}

async fn command(words: &[String]) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or("names no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let output = child.stdout.take().ok_or("has no output")?;
    let ended = async {
        let text = limited(output).await?;
        let status = child.wait().await.map_err(|error| error.to_string())?;
        match status.success() {
            true => Ok(text),
            false => Err(format!("the program ended with {status}")),
        }
    };
    let ended = tokio::time::timeout(COMMAND_DEADLINE, ended).await;
    ended.unwrap_or_else(|_| Err("the program did not end within 10 s".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> SecretRef {
        text.parse().expect("a reference")
    }

    #[tokio::test]
    async fn secrets_are_fetched_and_never_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, "hunter2\n").expect("written");
        let file = fetch(&of(&format!("file:{}", path.display())))
            .await
            .expect("read");
        assert_eq!(file.expose(), "hunter2");
        assert_eq!(format!("{file:?}"), "Secret(…)");
        let printed = fetch(&of(r#"cmd:["printf","hunter2"]"#))
            .await
            .expect("printed");
        assert_eq!(printed, file);
    }

    #[tokio::test]
    async fn what_cannot_be_fetched_says_why_without_what_was_read() {
        for (reference, why) in [
            ("env:WHEELHOUSE_NO_SUCH_VARIABLE", "is not set"),
            ("file:/nonexistent/token", "No such file"),
            (r#"cmd:["false"]"#, "exit status: 1"),
            (
                r#"cmd:["sh","-c","echo hunter2; exit 3"]"#,
                "exit status: 3",
            ),
            (r#"cmd:["true"]"#, "is empty"),
        ] {
            let text = fetch(&of(reference))
                .await
                .expect_err(reference)
                .to_string();
            assert!(text.contains(why), "{text}");
        }
    }
}

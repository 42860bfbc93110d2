//! The engine: does one answer, is it of this version and configuration, and what time is it
//! there?

use super::finding::{Finding, Subject};
use super::time;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::look;
use crate::config::Loaded;
use crate::link::{Client, ClientOptions, ConnectError};
use crate::model::{Placement, Version};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(super) async fn check(context: &Context, loaded: &Loaded) -> Vec<Finding> {
    let subject = Subject::new("engine", "engine");
    let Ok(socket) = context.socket(loaded) else {
        return vec![subject.bad("its socket is unknown; set state_dir")];
    };
    let options = ClientOptions::command(Some(loaded.hash.clone()));
    let (client, hello) = match Client::connect(&socket, &options).await {
        Ok(connected) => connected,
        Err(error @ ConnectError::NotRunning { .. }) => {
            return vec![subject.note(&error.to_string())];
        }
        Err(error) => {
            let failure = Failure::because(Exit::Unreachable, &error);
            return vec![subject.unreachable(failure.text.as_str())];
        }
    };
    let ours = env!("CARGO_PKG_VERSION");
    let answers = format!("{} answers", hello.version);
    let mut all =
        vec![match (hello.differs(Some(&loaded.hash)), hello.version.as_str() == ours) {
        (true, _) => {
            let text = format!(
                "{} runs another configuration; see `wheelhouse engine reload --dry-run`",
                hello.version
            );
            subject.bad(&text)
        }
        (false, true) => subject.ok(&answers),
        (false, false) => subject.note(&format!(
            "{answers}, this is {ours}; restart it when no rollout is under way, or at any time: \
             it resumes"
        )),
    }];
    all.push(permissions(&subject.part("socket"), &socket));
    match look::snapshot(&client).await {
        Ok(snapshot) => {
            let now_ms = time::now_ms();
            let trouble = &snapshot.engine.history_trouble;
            all.extend(trouble.as_ref().map(|why| {
                let text = format!("it cannot write the history: {why}");
                subject.part("history").bad(&text)
            }));
            let read_only = snapshot.engine.read_only.iter();
            all.extend(read_only.map(|row| subject.part("lease").bad(row.why.as_str())));
            let ahead_ms = snapshot.engine.now_ms.cast_signed() - now_ms;
            all.push(time::judge(
                &subject.part("clock"),
                ahead_ms,
                "restart it: it takes this machine's clock when it starts",
            ));
        }
        Err(failure) => all.push(subject.unreachable(failure.text.as_str())),
    }
    all
}

/// The versions that stand, as the engine knows them; none where it does not answer.
pub(super) async fn stable(context: &Context, loaded: &Loaded) -> BTreeMap<Placement, Version> {
    let Ok(socket) = context.socket(loaded) else {
        return BTreeMap::new();
    };
    let options = ClientOptions::command(Some(loaded.hash.clone()));
    let Ok((client, _)) = Client::connect(&socket, &options).await else {
        return BTreeMap::new();
    };
    let Ok(snapshot) = look::snapshot(&client).await else {
        return BTreeMap::new();
    };
    let views = snapshot.placements.iter();
    let known = views.filter_map(|view| {
        let stable = view.stable.as_ref()?;
        Some((view.placement.clone(), stable.version.clone()))
    });
    known.collect()
}

/// A socket through which only its owner should be able to act.
fn permissions(subject: &Subject, socket: &Path) -> Finding {
    match std::fs::symlink_metadata(socket) {
        Ok(meta) => {
            let mode = meta.permissions().mode() & 0o777;
            let text = format!("{} mode {mode:o}", socket.display());
            match mode & 0o007 {
                0 => subject.ok(&text),
                _ => subject.bad(&format!("{text}: everybody may write; restart the engine")),
            }
        }
        Err(error) => subject.bad(&format!("{}: {error}; look at it", socket.display())),
    }
}

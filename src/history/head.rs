//! `history.head`: a record that was durable once, kept outside the database, so that a history
//! cut back to an earlier time shows. It may lag behind, but never run ahead.

use super::chain::{self, Link};
use super::error::HistoryError;
use super::files::{self, Home, io_error};
use crate::model::Seq;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

#[derive(Serialize, Deserialize)]
struct Written {
    seq: Seq,
    hash: String,
}

/// Replaces the head: old or new after a crash, never half.
pub(super) fn write(home: &Home, link: Link) -> Result<(), HistoryError> {
    let path = home.head();
    let fresh = path.with_extension("head.new");
    replace(home.dir(), &path, &fresh, link).map_err(|source| io_error("write", &path, source))
}

fn replace(dir: &Path, path: &Path, fresh: &Path, link: Link) -> io::Result<()> {
    let written = Written {
        seq: link.seq,
        hash: chain::to_hex(&link.hash),
    };
    let text = serde_json::to_string(&written)?;
    match fs::remove_file(fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = files::private_options().create_new(true).open(fresh)?;
    files::make_private(&file, fresh).map_err(io::Error::other)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(fresh, path)?;
    File::open(dir)?.sync_all()
}

/// The head; `None` when there is none.
pub(super) fn read(home: &Home) -> Result<Option<Link>, HistoryError> {
    let path = home.head();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("read", &path, source)),
    };
    let link = serde_json::from_slice::<Written>(&text)
        .ok()
        .and_then(|written| {
            Some(Link {
                seq: written.seq,
                hash: chain::from_hex(&written.hash)?,
            })
        });
    link.map(Some).ok_or(HistoryError::Head { path })
}

//! Log files of bounded size, written by one thread so that a slow disk holds up nobody.

use crate::host::store::private_file;
use crate::model::Clean;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// A file that has grown beyond this is set aside as `.1`, replacing the one before: at most
/// twice this per server.
pub const FILE_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Pieces that wait for the disk, each at most what one read of a pipe brings; more are dropped
/// and counted in the file.
const PIECES_MAX: usize = 256;

#[derive(Debug)]
struct Piece {
    path: PathBuf,
    text: String,
}

/// The thread that writes log files. Ends when every [`LogFile`] and the value itself is gone.
#[derive(Debug)]
pub struct LogFiles {
    pieces: SyncSender<Piece>,
}

impl LogFiles {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> io::Result<Self> {
        let (pieces, received) = sync_channel(PIECES_MAX);
        std::thread::Builder::new()
            .name("log-files".into())
            .spawn(move || write_all(&received))?;
        Ok(Self { pieces })
    }

    /// A log file. Its directory must exist.
    pub fn file(&self, path: PathBuf) -> LogFile {
        LogFile {
            path,
            pieces: self.pieces.clone(),
            dropped: AtomicU64::new(0),
        }
    }
}

/// Where one server's lines go.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    pieces: SyncSender<Piece>,
    dropped: AtomicU64,
}

impl LogFile {
    /// Hands lines to the thread; drops and counts them when it is too far behind.
    pub fn write(&self, lines: &[Clean]) {
        let mut text = String::new();
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            text.push_str(&format!("[wheelhouse] {dropped} lines were not written\n"));
        }
        for line in lines {
            text.push_str(line.as_str());
            text.push('\n');
        }
        let piece = Piece {
            path: self.path.clone(),
            text,
        };
        if let Err(TrySendError::Full(_)) = self.pieces.try_send(piece) {
            let lost = dropped + lines.len() as u64;
            self.dropped.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

struct Open {
    file: File,
    bytes: u64,
}

fn write_all(pieces: &Receiver<Piece>) {
    let mut open: BTreeMap<PathBuf, Open> = BTreeMap::new();
    while let Ok(piece) = pieces.recv() {
        if let Err(error) = write(&mut open, &piece) {
            open.remove(&piece.path);
            tracing::warn!(path = %piece.path.display(), %error, "a log file cannot be written");
        }
    }
}

fn write(open: &mut BTreeMap<PathBuf, Open>, piece: &Piece) -> io::Result<()> {
    if open
        .get(&piece.path)
        .is_some_and(|open| open.bytes >= FILE_MAX_BYTES)
    {
        open.remove(&piece.path);
        let mut aside = piece.path.clone().into_os_string();
        aside.push(".1");
        std::fs::rename(&piece.path, aside)?;
    }
    if !open.contains_key(&piece.path) {
        let file = private_file(&piece.path, OpenOptions::new().append(true).create(true))?;
        let bytes = file.metadata()?.len();
        open.insert(piece.path.clone(), Open { file, bytes });
    }
    if let Some(open) = open.get_mut(&piece.path) {
        open.file.write_all(piece.text.as_bytes())?;
        open.bytes += piece.text.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_full_is_set_aside_and_two_are_kept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("web1.log");
        let mut open = BTreeMap::new();
        let piece = Piece {
            path: path.clone(),
            text: "x".repeat(1024 * 1024),
        };
        for _ in 0..40 {
            write(&mut open, &piece).expect("written");
        }
        let sizes: u64 = std::fs::read_dir(dir.path())
            .expect("readable")
            .map(|entry| entry.expect("entry").metadata().expect("metadata").len())
            .sum();
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 2);
        assert!(sizes <= 2 * (FILE_MAX_BYTES + 1024 * 1024), "{sizes}");
    }
}

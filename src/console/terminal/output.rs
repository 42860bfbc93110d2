//! The thread that writes frames.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Begins and ends a frame the terminal shows whole.
const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";

/// Writes frames one after the other. While one is under way no other is drawn, so there is
/// never more than one waiting.
pub struct Output {
    frames: Sender<Vec<u8>>,
    busy: Arc<AtomicBool>,
    idle: Arc<Notify>,
    synchronized: bool,
}

impl Output {
    /// Starts the thread; it ends with this value, or with the write that fails.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(terminal: OwnedFd, synchronized: bool) -> io::Result<Self> {
        let (frames, queue) = channel();
        let output = Self {
            frames,
            busy: Arc::default(),
            idle: Arc::default(),
            synchronized,
        };
        let (busy, idle) = (output.busy.clone(), output.idle.clone());
        std::thread::Builder::new()
            .name("console-output".to_owned())
            .spawn(move || write(File::from(terminal), &queue, &busy, &idle))?;
        Ok(output)
    }

    /// Whether a frame is still being written.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Waits until no frame is being written.
    pub async fn idle(&self) {
        while self.is_busy() {
            self.idle.notified().await;
        }
    }

    /// As [`Output::idle`], without a runtime and not for long.
    pub fn settle(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        while self.is_busy() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Writes a frame; nothing for an empty one.
    pub fn frame(&self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.raw(match self.synchronized {
            true => [BEGIN, &bytes, END].concat(),
            false => bytes,
        });
    }

    /// Writes bytes as they are.
    pub fn raw(&self, bytes: Vec<u8>) {
        self.busy.store(true, Ordering::Release);
        if self.frames.send(bytes).is_err() {
            // The terminal is gone; whoever watches it says so.
            self.busy.store(false, Ordering::Release);
        }
    }
}

fn write(mut terminal: File, queue: &Receiver<Vec<u8>>, busy: &AtomicBool, idle: &Notify) {
    while let Ok(mut bytes) = queue.recv() {
        while let Ok(more) = queue.try_recv() {
            bytes.extend(more);
        }
        let written = terminal.write_all(&bytes);
        busy.store(false, Ordering::Release);
        idle.notify_one();
        if written.is_err() {
            return;
        }
    }
}

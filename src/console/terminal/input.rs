//! The thread that reads keys, and that notices when the terminal goes away.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;
use tokio::sync::mpsc;

/// Read at once; a paste takes several.
const CHUNK_BYTES: usize = 4_096;

/// How long the console has to end by itself after a hang-up.
const GRACE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 400_000_000,
};

/// The exit code of a process ended by a hang-up.
const HUNG_UP: i32 = 129;

/// What the thread tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::console) enum Input {
    /// Bytes, and when they were read.
    Bytes(Vec<u8>, Instant),
    /// The terminal is gone.
    HungUp,
}

/// Starts the thread. It ends when the returned value is dropped; if a hang-up is not followed
/// by that in time, it ends the process: nobody is there to be asked.
///
/// # Errors
/// When no thread or socket pair can be made.
pub(in crate::console) fn listen(
    terminal: OwnedFd,
    to: mpsc::Sender<Input>,
) -> io::Result<UnixStream> {
    let (end, ended) = UnixStream::pair()?;
    std::thread::Builder::new()
        .name("console-input".to_owned())
        .spawn(move || {
            if read(&terminal, &ended, &to) == Gone::Terminal {
                // Keys may fill the queue; the grace below does not depend on this.
                to.try_send(Input::HungUp).ok();
                drop(to);
                let mut fds = [PollFd::new(&ended, PollFlags::IN)];
                if let Ok(0) = poll(&mut fds, Some(&GRACE)) {
                    std::process::exit(HUNG_UP);
                }
            }
        })?;
    Ok(end)
}

/// What ended the reading.
#[derive(Debug, PartialEq, Eq)]
enum Gone {
    Terminal,
    Console,
}

fn read(terminal: &OwnedFd, ended: &UnixStream, to: &mpsc::Sender<Input>) -> Gone {
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let mut fds = [
            PollFd::new(terminal, PollFlags::IN),
            PollFd::new(ended, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Gone::Terminal,
        }
        let (tty, end) = (fds[0].revents(), fds[1].revents());
        if !end.is_empty() {
            return Gone::Console;
        }
        if tty.intersects(gone) {
            return Gone::Terminal;
        }
        if !tty.contains(PollFlags::IN) {
            continue;
        }
        match rustix::io::read(terminal, &mut chunk) {
            Ok(0) => return Gone::Terminal,
            Ok(n) => {
                // A storm of keys may lose some: none of them was meant.
                to.try_send(Input::Bytes(chunk[..n].to_vec(), Instant::now()))
                    .ok();
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return Gone::Terminal,
        }
    }
}

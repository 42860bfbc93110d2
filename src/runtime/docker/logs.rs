//! Output of containers: followed only while somebody asks, in a bounded ring per container.
//!
//! The stream is decoded here: a frame's header may claim any length, and a line may have none.

use super::DockerRuntime;
use super::connect::{CallError, Connection};
use super::read::{Ours, behind, list, ours};
use crate::model::{Clean, Placement, ServerName};
use crate::ports::LogPage;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Lines kept per container.
const LINES_MAX: usize = 2_000;
/// Lines in one page.
const PAGE_MAX: usize = 500;
/// Bytes of a line kept; the rest of it is dropped.
const LINE_MAX: usize = 8 * 1024;
/// Followed no longer than this after the last question.
const UNASKED: Duration = Duration::from_secs(30);
/// How often it is seen whether anybody asked.
const LOOK: Duration = Duration::from_secs(5);
/// Lines of the past read first.
const TAIL: usize = 1_000;
/// Containers remembered.
const CONTAINERS_MAX: usize = 64;
/// For the first lines, before the first page is answered.
const FIRST_LINES: Duration = Duration::from_millis(300);
/// Drivers whose output the daemon can give back; since Docker 20.10 others are kept as well,
/// unless that is switched off.
const NO_LOGS: &str = "configured logging driver does not support reading";

/// What is followed, by container.
#[derive(Debug, Clone, Default)]
pub(super) struct Logs {
    all: Arc<Mutex<HashMap<String, Followed>>>,
}

#[derive(Debug, Clone)]
struct Followed {
    ring: Arc<Mutex<Ring>>,
    asked: Arc<Mutex<Instant>>,
}

/// Lines with their positions, the oldest dropped first.
#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Clean>,
    /// Position of the first line there.
    first: u64,
    /// Where the next following begins, as Docker's `since` wants it.
    ended: Option<End>,
}

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq)]
enum End {
    /// The container's output ended, or nobody asked any more.
    Quiet,
    /// It cannot be read.
    Unreadable(String),
}

impl Ring {
    fn push(&mut self, line: Clean) {
        self.lines.push_back(line);
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
            self.first += 1;
        }
    }

    fn page(&self, from: u64) -> LogPage {
        let end = self.first + self.lines.len() as u64;
        let start = from.clamp(self.first, end);
        let skip = (start - self.first) as usize;
        let lines: Vec<_> = self
            .lines
            .iter()
            .skip(skip)
            .take(PAGE_MAX)
            .cloned()
            .collect();
        LogPage {
            next: start + lines.len() as u64,
            skipped: start.saturating_sub(from),
            lines,
        }
    }
}

impl DockerRuntime {
    pub(super) async fn log_page(
        &self,
        placement: &Placement,
        server: &ServerName,
        from: u64,
    ) -> Result<LogPage, CallError> {
        let (_, docker) = self.connection.api().await?;
        let all = list(&docker).await?;
        let ours = ours(&docker, &all, placement).await?;
        let there = behind(&ours, server).ok_or_else(|| CallError::Refused {
            status: 404,
            message: format!("no container stands behind {server}"),
        })?;
        let followed = self.logs.follow(&self.connection, there);
        let until = Instant::now() + FIRST_LINES;
        loop {
            let (page, ended) = {
                let ring = followed.ring.lock();
                let ring = ring.map_err(|_| CallError::Lost("the ring is broken".to_owned()))?;
                (ring.page(from), ring.ended.clone())
            };
            if let (Some(End::Unreadable(why)), true) = (&ended, page.lines.is_empty()) {
                self.logs.forget(&there.id);
                return Err(CallError::Refused {
                    status: 501,
                    message: why.clone(),
                });
            }
            if !page.lines.is_empty() || ended.is_some() || Instant::now() >= until {
                return Ok(page);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Logs {
    /// Follows a container from now on, unless that is done already.
    fn follow(&self, connection: &Connection, ours: &Ours) -> Followed {
        let fresh = || Followed {
            ring: Arc::default(),
            asked: Arc::new(Mutex::new(Instant::now())),
        };
        let Ok(mut all) = self.all.lock() else {
            return fresh();
        };
        if let Some(known) = all.get(&ours.id) {
            if let Ok(mut asked) = known.asked.lock() {
                *asked = Instant::now();
            }
            let again = known
                .ring
                .lock()
                .is_ok_and(|ring| ring.ended == Some(End::Quiet));
            if !(again && ours.is_running()) {
                return known.clone();
            }
        }
        if all.len() >= CONTAINERS_MAX {
            all.clear();
        }
        // Positions go on after those that were given out before.
        let first = all.get(&ours.id).map_or(0, |known| {
            let ring = known.ring.lock();
            ring.map_or(0, |ring| ring.first + ring.lines.len() as u64)
        });
        let followed = fresh();
        if let Ok(mut ring) = followed.ring.lock() {
            ring.first = first;
        }
        all.insert(ours.id.clone(), followed.clone());
        let form = Form::of(ours);
        let task = Task {
            connection: connection.clone(),
            id: ours.id.clone(),
            followed: followed.clone(),
            form,
            tail: if first == 0 { TAIL } else { 0 },
        };
        tokio::spawn(task.run());
        followed
    }

    fn forget(&self, id: &str) {
        if let Ok(mut all) = self.all.lock() {
            all.remove(id);
        }
    }
}

/// How the daemon sends output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each piece with a header that names its stream and length.
    Framed,
    /// As it came, from a terminal.
    Plain,
}

impl Form {
    fn of(ours: &Ours) -> Self {
        let config = ours.inspected.config.as_ref();
        match config.and_then(|config| config.tty) {
            Some(true) => Self::Plain,
            _ => Self::Framed,
        }
    }
}

/// The newest lines of a container, oldest first: what of them comes within the limit.
pub(super) async fn newest(
    connection: &Connection,
    ours: &Ours,
    lines_max: usize,
    limit: Duration,
) -> Result<VecDeque<Clean>, String> {
    let until = Instant::now() + limit;
    let path = format!(
        "/containers/{}/logs?stdout=1&stderr=1&tail={lines_max}",
        ours.id
    );
    let opened = tokio::time::timeout_at(until, connection.stream(&path)).await;
    let mut body = match opened {
        Ok(Ok(body)) => body,
        Ok(Err(CallError::Refused { status: 501, .. })) => return Err(NO_LOGS.to_owned()),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("no answer in time".to_owned()),
    };
    let mut decoder = Decoder::new(Form::of(ours));
    let mut lines = VecDeque::new();
    let mut keep = |some: Vec<Clean>| {
        lines.extend(some);
        let over = lines.len().saturating_sub(lines_max);
        lines.drain(..over);
    };
    while let Ok(Some(Ok(frame))) = tokio::time::timeout_at(until, body.frame()).await {
        keep(decoder.take(&frame.into_data().unwrap_or_default()));
    }
    keep(decoder.rest());
    match decoder.unreadable {
        Some(why) if lines.is_empty() => Err(why),
        _ => Ok(lines),
    }
}

struct Task {
    connection: Connection,
    id: String,
    followed: Followed,
    form: Form,
    tail: usize,
}

impl Task {
    async fn run(self) {
        let path = format!(
            "/containers/{}/logs?follow=1&stdout=1&stderr=1&tail={}",
            self.id, self.tail
        );
        let end = match self.connection.stream(&path).await {
            Ok(body) => self.read(body).await,
            Err(CallError::Refused { status: 501, .. }) => End::Unreadable(NO_LOGS.to_owned()),
            Err(error) => End::Unreadable(error.to_string()),
        };
        if let Ok(mut ring) = self.followed.ring.lock() {
            ring.ended = Some(end);
        }
    }

    async fn read(&self, mut body: Incoming) -> End {
        let mut decoder = Decoder::new(self.form);
        loop {
            match tokio::time::timeout(LOOK, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let bytes = frame.into_data().unwrap_or_default();
                    self.keep(decoder.take(&bytes));
                }
                Ok(Some(Err(_)) | None) => break,
                Err(_) => {}
            }
            let asked = self.followed.asked.lock().map(|asked| asked.elapsed());
            if asked.map_or(true, |since| since > UNASKED) {
                break;
            }
        }
        self.keep(decoder.rest());
        match decoder.unreadable {
            Some(why) => End::Unreadable(why),
            None => End::Quiet,
        }
    }

    fn keep(&self, lines: Vec<Clean>) {
        if let Ok(mut ring) = self.followed.ring.lock() {
            lines.into_iter().for_each(|line| ring.push(line));
        }
    }
}

/// Bytes → lines. Holds one header and one line, whatever the stream claims.
struct Decoder {
    form: Form,
    header: Vec<u8>,
    /// Bytes of the present frame still to come.
    left: u64,
    /// The line under way of each stream.
    partial: [Partial; 2],
    stream: usize,
    unreadable: Option<String>,
}

#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    dropped: u64,
}

impl Decoder {
    fn new(form: Form) -> Self {
        Self {
            form,
            header: Vec::new(),
            left: 0,
            partial: [Partial::default(), Partial::default()],
            stream: 0,
            unreadable: None,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Vec<Clean> {
        let mut lines = Vec::new();
        while !bytes.is_empty() && self.unreadable.is_none() {
            if self.form == Form::Plain {
                self.partial[0].take(bytes, &mut lines);
                break;
            }
            if self.left == 0 {
                let want = (8 - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(&bytes[..want]);
                bytes = &bytes[want..];
                self.open_frame();
                continue;
            }
            let here = self.left.min(bytes.len() as u64) as usize;
            self.partial[self.stream].take(&bytes[..here], &mut lines);
            self.left -= here as u64;
            bytes = &bytes[here..];
        }
        lines
    }

    /// A whole header begins a frame; one that is none ends the reading.
    fn open_frame(&mut self) {
        let Ok(header): Result<[u8; 8], _> = self.header.as_slice().try_into() else {
            return;
        };
        self.header.clear();
        let [stream, 0, 0, 0, a, b, c, d] = header else {
            self.unreadable = Some("the daemon's stream of output makes no sense".to_owned());
            return;
        };
        self.stream = usize::from(stream == 2);
        self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
    }

    fn rest(&mut self) -> Vec<Clean> {
        let mut lines = Vec::new();
        for partial in &mut self.partial {
            if !partial.bytes.is_empty() {
                lines.push(partial.line());
            }
        }
        lines
    }
}

impl Partial {
    fn take(&mut self, bytes: &[u8], lines: &mut Vec<Clean>) {
        for (number, part) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if number > 0 {
                lines.push(self.line());
            }
            let room = LINE_MAX.saturating_sub(self.bytes.len()).min(part.len());
            self.bytes.extend_from_slice(&part[..room]);
            self.dropped += (part.len() - room) as u64;
        }
    }

    fn line(&mut self) -> Clean {
        let bytes = std::mem::take(&mut self.bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(&bytes);
        match std::mem::take(&mut self.dropped) {
            0 => Clean::bytes(bytes),
            more => {
                let text = String::from_utf8_lossy(bytes);
                Clean::new(&format!("{text}…(+{more} bytes)"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let length = (text.len() as u32).to_be_bytes();
        [&[stream, 0, 0, 0][..], &length, text].concat()
    }

    fn words(lines: Vec<Clean>) -> Vec<String> {
        lines.into_iter().map(Clean::into_string).collect()
    }

    #[test]
    fn frames_are_read_wherever_they_are_cut() {
        let bytes = [frame(1, b"one\ntw"), frame(2, b"aside\n"), frame(1, b"o\n")].concat();
        for cut in 1..bytes.len() {
            let mut decoder = Decoder::new(Form::Framed);
            let mut lines = decoder.take(&bytes[..cut]);
            lines.extend(decoder.take(&bytes[cut..]));
            assert_eq!(words(lines), ["one", "aside", "two"], "cut at {cut}");
        }
    }

    #[test]
    fn fault_68_a_header_that_lies_and_a_line_without_end_take_no_memory() {
        let mut decoder = Decoder::new(Form::Framed);
        assert!(decoder.take(&[1, 0, 0, 0, 255, 255, 255, 255]).is_empty());
        let chunk = vec![b'x'; 64 * 1024];
        for _ in 0..160 {
            assert!(decoder.take(&chunk).is_empty());
        }
        assert!(decoder.partial[0].bytes.capacity() <= 2 * LINE_MAX);
        let line = words(decoder.rest()).remove(0);
        assert!(line.ends_with("bytes)"), "it says what is missing");
        let mut decoder = Decoder::new(Form::Framed);
        assert!(decoder.take(b"no header at all, but text\n").is_empty());
        assert!(decoder.unreadable.is_some());
    }

    #[test]
    fn a_ring_says_what_it_dropped() {
        let mut ring = Ring::default();
        for number in 0..LINES_MAX + 10 {
            ring.push(Clean::new(&number.to_string()));
        }
        let page = ring.page(0);
        assert_eq!((page.skipped, page.lines.len()), (10, PAGE_MAX));
        assert_eq!(page.lines[0].as_str(), "10");
        let rest = ring.page(page.next);
        assert_eq!(rest.skipped, 0);
        assert_eq!(ring.page(1 << 40).lines.len(), 0);
    }
}

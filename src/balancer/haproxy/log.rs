//! One line of HAProxy's `option httplog`, as it arrives in a datagram, read strictly.
//!
//! The time that counts is **Tr**: from the moment the server had the request to the first byte of
//! its answer. Ta would also hold the time in which a client dribbled its request in and took the
//! answer off: a slow client must not be held against a release. A refused or repeated connection
//! is in Tc and is an error already, and it may have been another server's. The embedded proxy
//! measures to the answer's head as well, so limits mean the same behind both.
//!
//! A server that took the request and never answered has Tr −1; it kept its client waiting at
//! least until the line was written, and that is what counts. Leaving it out would make a release
//! look the faster the more of its requests time out or are given up.
//!
//! Text that clients choose (cookies, headers, the request) stands behind the status and is never
//! looked at, so nothing in it can pose as a field, and a line cut off there is still whole. The
//! termination state stands behind captured cookies, which may hold blanks: it is not read either,
//! because the counters of `show stat` tell errors already, and no time depends on it.
//!
//! Pure: knows no socket and nothing that was counted before.

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The process that wrote it, where the format tells.
    pub(super) pid: Option<u32>,
    /// Backend and server as one word: `web/web1`. Where no server was chosen, its second part
    /// begins with `<`.
    pub(super) server: &'a str,
    /// How long the server took, in ms rounded down; `None` where it never got the request.
    pub(super) took_ms: Option<u64>,
}

/// Longest stretch that is searched for the accept date: header, host name and client address.
const HEAD_MAX: usize = 1_024;
/// Longest backend/server word; HAProxy's own names are shorter.
const NAME_MAX: usize = 512;

/// Reads a datagram; `None` if it is no whole httplog line up to its status.
pub(super) fn parse(datagram: &[u8]) -> Option<Line<'_>> {
    let (head, rest) = at_accept_date(datagram)?;
    let pid = writer(head)?;
    let mut fields = rest.split(|byte| *byte == b' ');
    let frontend = word(fields.next()?)?;
    let server = word(fields.next()?)?;
    let timers = word(fields.next()?)?;
    let status = word(fields.next()?)?;
    // The status must have ended: a number that was cut off is none.
    fields.next()?;
    let known = status == "-1" || (status.len() == 3 && number(status).is_some());
    let named =
        server.len() <= NAME_MAX && server.split('/').filter(|part| !part.is_empty()).count() == 2;
    (known && named && !frontend.is_empty()).then_some(())?;
    Some(Line {
        pid,
        server,
        took_ms: Timers::parse(timers)?.took_ms(),
    })
}

/// Splits at the accept date, ` [21/Nov/2026:13:24:25.135] `: what is before it HAProxy wrote.
fn at_accept_date(datagram: &[u8]) -> Option<(&str, &[u8])> {
    const PATTERN: &[u8] = b" [dd/aaa/dddd:dd:dd:dd.ddd] ";
    let matches = |window: &[u8]| {
        let mut pairs = window.iter().zip(PATTERN);
        pairs.all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            b'a' => byte.is_ascii_alphabetic(),
            exact => byte == exact,
        })
    };
    let searched = &datagram[..datagram.len().min(HEAD_MAX)];
    let at = searched.windows(PATTERN.len()).position(matches)?;
    let head = std::str::from_utf8(&datagram[..at]).ok()?;
    Some((head, &datagram[at + PATTERN.len()..]))
}

/// The pid in a syslog header that ends with the client's address; the outer `None` where that is
/// none.
fn writer(head: &str) -> Option<Option<u32>> {
    let client_at = head.rfind([' ', '>']).map_or(0, |at| at + 1);
    let (header, client) = head.split_at(client_at);
    let (_, port) = client.rsplit_once(':')?;
    number(port)?;
    let mut words = header.split(' ');
    if words.next().is_some_and(|first| first.ends_with(">1")) {
        // RFC 5424: time, host, program, then the process.
        return Some(words.nth(3).and_then(pid));
    }
    let tagged = header
        .strip_suffix("]: ")
        .and_then(|header| header.rsplit_once('['));
    Some(tagged.and_then(|(_, digits)| pid(digits)))
}

fn pid(digits: &str) -> Option<u32> {
    number(digits).and_then(|number| u32::try_from(number).ok())
}

fn word(bytes: &[u8]) -> Option<&str> {
    let graphic = bytes.iter().all(u8::is_ascii_graphic);
    (graphic && !bytes.is_empty()).then_some(())?;
    std::str::from_utf8(bytes).ok()
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// TR/Tw/Tc/Tr/Ta in ms; `None` stands for −1, a stage that was not completed.
struct Timers {
    request: Option<u64>,
    queue: Option<u64>,
    connect: Option<u64>,
    response: Option<u64>,
    active: u64,
}

impl Timers {
    fn parse(text: &str) -> Option<Self> {
        let timer = |text: &str| match text {
            "-1" => Some(None),
            digits => number(digits).map(Some),
        };
        let mut parts = text.split('/');
        let timers = Self {
            request: timer(parts.next()?)?,
            queue: timer(parts.next()?)?,
            connect: timer(parts.next()?)?,
            response: timer(parts.next()?)?,
            // `option logasap` writes the line before the end and says so by a plus.
            active: number(parts.next()?.trim_start_matches('+'))?,
        };
        parts.next().is_none().then_some(timers)
    }

    fn took_ms(&self) -> Option<u64> {
        let connect = self.connect?;
        let before = [self.request.unwrap_or(0), self.queue.unwrap_or(0), connect];
        let before = before.into_iter().fold(0, u64::saturating_add);
        Some(
            self.response
                .unwrap_or_else(|| self.active.saturating_sub(before)),
        )
    }
}

#[cfg(test)]
mod tests;

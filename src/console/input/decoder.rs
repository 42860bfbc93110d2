//! The bytes' grammar, with the times at which it gives up waiting.

use super::key::Key;

/// How long an unfinished sequence or paste is waited for after its last byte.
const SEQUENCE_MS: u64 = 1_000;

/// How long after a lone Esc a `[` or `O` still counts as its other half: the pieces of a split
/// arrow key come this late on a bad line.
const LATE_MS: u64 = 300;

/// Longest sequence remembered; longer ones are swallowed all the same.
const SEQUENCE_BYTES_MAX: usize = 32;

/// Ends a bracketed paste.
const PASTE_END: &[u8] = b"\x1b[201~";

/// What came with a key: a person's keys come one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// Nothing else arrived with it.
    Alone,
    /// Other keys arrived at the same moment.
    Crowd,
}

/// What a terminal told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A key.
    Key(Key, Company),
    /// A paste has ended; its text is nowhere.
    Paste,
    /// The terminal has the focus again.
    FocusGained,
    /// The terminal lost the focus.
    FocusLost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Ground,
    /// After an Esc, at this time.
    Esc(u64),
    /// After a lone Esc was told: until then its other half is swallowed.
    Late(u64),
    /// Within `ESC [ …`.
    Csi(Vec<u8>),
    /// Within `ESC O`.
    Ss3,
    /// Within a string of the terminal (OSC, DCS, …); whether its last byte was an Esc.
    Text {
        esc: bool,
    },
    /// Within a paste; how much of its end was seen.
    Paste(usize),
    /// Within a character; the bytes so far.
    Utf8(Vec<u8>),
}

/// Decodes the bytes of one terminal.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    esc_ms: u64,
    last_ms: u64,
    heard: Vec<Heard>,
}

impl Decoder {
    /// One that holds a lone Esc for `esc_ms`.
    pub fn new(esc_ms: u64) -> Self {
        Self {
            state: State::Ground,
            esc_ms,
            last_ms: 0,
            heard: Vec::new(),
        }
    }

    /// Takes what was read at one moment.
    pub fn feed(&mut self, bytes: &[u8], now_ms: u64) -> Vec<Heard> {
        self.give_up(now_ms);
        let before = self.heard.len();
        for byte in bytes {
            self.byte(*byte, now_ms);
        }
        self.last_ms = now_ms;
        let mut heard = std::mem::take(&mut self.heard);
        if heard.len() - before > 1 {
            for told in &mut heard[before..] {
                if let Heard::Key(_, company) = told {
                    *company = Company::Crowd;
                }
            }
        }
        heard
    }

    /// Tells what time alone decides: that an Esc stays alone, that a sequence never ends.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Heard> {
        self.give_up(now_ms);
        std::mem::take(&mut self.heard)
    }

    /// When to call [`Decoder::tick`] at the latest.
    pub fn deadline_ms(&self) -> Option<u64> {
        match &self.state {
            State::Ground | State::Late(_) => None,
            State::Esc(at_ms) => Some(at_ms + self.esc_ms),
            _ => Some(self.last_ms + SEQUENCE_MS),
        }
    }

    fn give_up(&mut self, now_ms: u64) {
        if let State::Late(until_ms) = self.state
            && now_ms > until_ms
        {
            self.state = State::Ground;
        }
        if self.deadline_ms().is_none_or(|deadline| now_ms < deadline) {
            return;
        }
        match std::mem::replace(&mut self.state, State::Ground) {
            State::Esc(at_ms) => {
                self.key(Key::Esc);
                self.state = State::Late(at_ms + self.esc_ms + LATE_MS);
            }
            State::Paste(_) => self.heard.push(Heard::Paste),
            _ => {}
        }
    }

    fn key(&mut self, key: Key) {
        self.heard.push(Heard::Key(key, Company::Alone));
    }

    fn byte(&mut self, byte: u8, now_ms: u64) {
        match std::mem::replace(&mut self.state, State::Ground) {
            State::Ground => self.ground(byte, now_ms),
            State::Late(_) => match byte {
                b'[' => self.state = State::Csi(Vec::new()),
                b'O' => self.state = State::Ss3,
                _ => self.ground(byte, now_ms),
            },
            State::Esc(_) => self.after_esc(byte, now_ms),
            State::Csi(bytes) => self.csi(bytes, byte, now_ms),
            State::Ss3 => self.ss3(byte, now_ms),
            State::Text { esc } => match (esc, byte) {
                (_, 0x07) | (true, b'\\') => {}
                _ => self.state = State::Text { esc: byte == 0x1b },
            },
            State::Paste(seen) => self.paste(seen, byte),
            State::Utf8(bytes) => self.utf8(bytes, byte, now_ms),
        }
    }

    fn ground(&mut self, byte: u8, now_ms: u64) {
        match byte {
            0x1b => self.state = State::Esc(now_ms),
            b'\r' | b'\n' => self.key(Key::Enter),
            b'\t' => self.key(Key::Tab),
            0x7f | 0x08 => self.key(Key::Backspace),
            0x01..=0x1a => self.key(Key::Ctrl(char::from(byte + 0x60))),
            0x00 | 0x1c..=0x1f => {}
            0x20..=0x7e => self.key(Key::Char(char::from(byte))),
            0xc2..=0xf4 => self.state = State::Utf8(vec![byte]),
            // No character begins so.
            0x80..=0xc1 | 0xf5.. => {}
        }
    }

    fn after_esc(&mut self, byte: u8, now_ms: u64) {
        match byte {
            b'[' => self.state = State::Csi(Vec::new()),
            b'O' => self.state = State::Ss3,
            b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::Text { esc: false },
            0x1b => {
                self.key(Key::Esc);
                self.state = State::Esc(now_ms);
            }
            0x20..=0x7e => self.key(Key::Alt(char::from(byte))),
            // Alt with a control key: nobody's.
            _ => {}
        }
    }

    fn csi(&mut self, mut bytes: Vec<u8>, byte: u8, now_ms: u64) {
        match byte {
            // A new sequence begins within one that was cut off.
            0x1b => self.state = State::Esc(now_ms),
            0x40..=0x7e => self.csi_ends(&bytes, byte),
            _ => {
                if bytes.len() < SEQUENCE_BYTES_MAX {
                    bytes.push(byte);
                }
                self.state = State::Csi(bytes);
            }
        }
    }

    fn csi_ends(&mut self, bytes: &[u8], last: u8) {
        // The Linux console sends F1 to F5 as `ESC [ [ A` to `E`.
        if bytes.is_empty() && last == b'[' {
            self.state = State::Csi(vec![b'[']);
            return;
        }
        if bytes == b"[" {
            if let b'A'..=b'E' = last {
                self.key(Key::F(last - b'A' + 1));
            }
            return;
        }
        let first = bytes.split(|b| *b == b';').next().unwrap_or_default();
        match (first, last) {
            (b"" | b"1", b'A') => self.key(Key::Up),
            (b"" | b"1", b'B') => self.key(Key::Down),
            (b"" | b"1", b'C') => self.key(Key::Right),
            (b"" | b"1", b'D') => self.key(Key::Left),
            (b"" | b"1", b'H') => self.key(Key::Home),
            (b"" | b"1", b'F') => self.key(Key::End),
            (b"" | b"1", b'Z') => self.key(Key::BackTab),
            (b"1", b'P'..=b'S') => self.key(Key::F(last - b'P' + 1)),
            (b"", b'I') => self.heard.push(Heard::FocusGained),
            (b"", b'O') => self.heard.push(Heard::FocusLost),
            (b"200", b'~') => self.state = State::Paste(0),
            (number, b'~') => {
                if let Some(key) = numbered(number) {
                    self.key(key);
                }
            }
            _ => {}
        }
    }

    fn ss3(&mut self, byte: u8, now_ms: u64) {
        let key = match byte {
            b'A' => Key::Up,
            b'B' => Key::Down,
            b'C' => Key::Right,
            b'D' => Key::Left,
            b'H' => Key::Home,
            b'F' => Key::End,
            b'P'..=b'S' => Key::F(byte - b'P' + 1),
            b'M' => Key::Enter,
            0x1b => {
                self.state = State::Esc(now_ms);
                return;
            }
            _ => return,
        };
        self.key(key);
    }

    fn paste(&mut self, seen: usize, byte: u8) {
        let seen = match byte {
            _ if byte == PASTE_END[seen] => seen + 1,
            _ if byte == PASTE_END[0] => 1,
            _ => 0,
        };
        if seen == PASTE_END.len() {
            self.heard.push(Heard::Paste);
        } else {
            self.state = State::Paste(seen);
        }
    }

    fn utf8(&mut self, mut bytes: Vec<u8>, byte: u8, now_ms: u64) {
        if !(0x80..=0xbf).contains(&byte) {
            return self.ground(byte, now_ms);
        }
        bytes.push(byte);
        let whole = match bytes[0] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        if bytes.len() < whole {
            self.state = State::Utf8(bytes);
        } else if let Ok(Some(c)) = std::str::from_utf8(&bytes).map(|text| text.chars().next())
            && !c.is_control()
        {
            self.key(Key::Char(c));
        }
    }
}

fn numbered(number: &[u8]) -> Option<Key> {
    Some(match number {
        b"1" | b"7" => Key::Home,
        b"2" => Key::Insert,
        b"3" => Key::Delete,
        b"4" | b"8" => Key::End,
        b"5" => Key::PageUp,
        b"6" => Key::PageDown,
        b"11" => Key::F(1),
        b"12" => Key::F(2),
        b"13" => Key::F(3),
        b"14" => Key::F(4),
        b"15" => Key::F(5),
        b"17" => Key::F(6),
        b"18" => Key::F(7),
        b"19" => Key::F(8),
        b"20" => Key::F(9),
        b"21" => Key::F(10),
        b"23" => Key::F(11),
        b"24" => Key::F(12),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

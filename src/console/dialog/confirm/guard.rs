//! What keeps a slip from confirming: the lock after opening, the typed word, the two buttons.

use crate::console::input::{Company, Key};
use crate::view::Tier;

/// Two presses of one key closer than this are a held key.
const REPEAT_MS: u64 = 150;

/// A word of three letters or more typed faster than this was not typed.
const BURST_MS: u64 = 30;

/// What a key does to a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Press {
    /// Nothing, or only to the dialog itself.
    Stay,
    /// It closes; nothing was done.
    Cancel,
    /// It is confirmed.
    Confirm,
}

/// The button that Enter would press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// Cancel.
    Cancel,
    /// The verb.
    Verb,
}

/// The guard of one dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    trigger: Key,
    lock_ms: u64,
    locked_until_ms: u64,
    last: Option<(Key, u64)>,
    word: String,
    typed: Vec<(char, u64)>,
    button: Button,
    notice: Option<&'static str>,
}

impl Guard {
    /// A guard that stays locked for `lock_ms` from now; `word` confirms tier 2.
    pub fn new(trigger: Key, word: &str, lock_ms: u64, now_ms: u64) -> Self {
        Self {
            trigger,
            lock_ms,
            locked_until_ms: now_ms + lock_ms,
            last: None,
            word: word.to_owned(),
            typed: Vec::new(),
            button: Button::Cancel,
            notice: None,
        }
    }

    /// Locks again; what was typed is forgotten.
    pub fn lock(&mut self, now_ms: u64) {
        self.locked_until_ms = now_ms + self.lock_ms;
        self.typed.clear();
        self.button = Button::Cancel;
    }

    /// Whether nothing can be confirmed yet.
    pub fn is_locked(&self, now_ms: u64) -> bool {
        now_ms < self.locked_until_ms
    }

    /// When the lock opens; `None` if it is open.
    pub fn unlocks_ms(&self, now_ms: u64) -> Option<u64> {
        self.is_locked(now_ms).then_some(self.locked_until_ms)
    }

    /// What was typed so far.
    pub fn typed(&self) -> String {
        self.typed.iter().map(|(c, _)| *c).collect()
    }

    /// The word to type.
    pub fn word(&self) -> &str {
        &self.word
    }

    /// Whether the word is complete.
    pub fn is_complete(&self) -> bool {
        self.typed().trim() == self.word
    }

    /// The button Enter would press.
    pub fn button(&self) -> Button {
        self.button
    }

    /// What the person should know about their last key.
    pub fn notice(&self) -> Option<&'static str> {
        self.notice
    }

    /// A paste is never text here.
    pub fn paste(&mut self) {
        self.typed.clear();
        self.button = Button::Cancel;
        self.notice = Some("paste ignored - type it");
    }

    /// Takes a key. `tier` is how it must be confirmed, `None` while it cannot be.
    pub fn press(&mut self, key: Key, company: Company, tier: Option<Tier>, now_ms: u64) -> Press {
        let held = self
            .last
            .is_some_and(|(last, at_ms)| last == key && now_ms < at_ms + REPEAT_MS);
        self.last = Some((key, now_ms));
        self.notice = None;
        let on_verb = self.button == Button::Verb && tier == Some(Tier::Two);
        match key {
            Key::Esc | Key::Ctrl('c') => return Press::Cancel,
            Key::Enter if !on_verb => return Press::Cancel,
            _ => {}
        }
        let confirms = |key| matches!(key, Key::Char('y' | 'Y') | Key::Enter);
        if self.is_locked(now_ms) {
            if key == self.trigger || confirms(key) {
                self.locked_until_ms = now_ms + self.lock_ms;
            }
            return Press::Stay;
        }
        if held && (key == self.trigger || key == Key::Enter || tier == Some(Tier::One)) {
            self.lock(now_ms);
            self.notice = Some("held key ignored");
            return Press::Stay;
        }
        match tier {
            None => Press::Stay,
            Some(Tier::One) => self.tier_one(key, company, now_ms),
            Some(Tier::Two) => self.tier_two(key, company, now_ms),
        }
    }

    fn tier_one(&mut self, key: Key, company: Company, now_ms: u64) -> Press {
        match (key, company) {
            (Key::Char('y' | 'Y'), Company::Alone) => Press::Confirm,
            (Key::Char('y' | 'Y'), Company::Crowd) => {
                self.lock(now_ms);
                self.notice = Some("burst of keys ignored - press y alone");
                Press::Stay
            }
            (Key::Char('n' | 'q'), _) => Press::Cancel,
            _ => Press::Stay,
        }
    }

    fn tier_two(&mut self, key: Key, company: Company, now_ms: u64) -> Press {
        match key {
            Key::Char(c) => {
                self.button = Button::Cancel;
                self.typed.push((c, now_ms));
                self.typed.truncate(2 * self.word.len() + 8);
                if self.is_complete() && self.came_at_once() {
                    self.paste();
                }
            }
            Key::Backspace => {
                self.button = Button::Cancel;
                self.typed.pop();
            }
            Key::Ctrl('u') => {
                self.button = Button::Cancel;
                self.typed.clear();
            }
            Key::Tab | Key::BackTab => match (self.button, self.is_complete()) {
                (Button::Cancel, true) => self.button = Button::Verb,
                (Button::Cancel, false) => self.notice = Some("the word is not complete"),
                (Button::Verb, _) => self.button = Button::Cancel,
            },
            Key::Enter if self.is_complete() => match company {
                Company::Alone => return Press::Confirm,
                Company::Crowd => {
                    self.lock(now_ms);
                    self.notice = Some("burst of keys ignored - type it again");
                }
            },
            _ => {}
        }
        Press::Stay
    }

    fn came_at_once(&self) -> bool {
        let (Some((_, first)), Some((_, last))) = (self.typed.first(), self.typed.last()) else {
            return false;
        };
        self.typed.len() >= 3 && last - first < BURST_MS
    }
}

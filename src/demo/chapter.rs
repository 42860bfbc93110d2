//! The chapters of the story. Each has a service of its own, so that neither waits for the other.

/// One chapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chapter {
    /// A canary: a good release, a bad one, and the ways back.
    First,
    /// Blue-green, and a rolling restart.
    Second,
}

impl Chapter {
    /// All of them, in their order.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The service it is about. The first chapter's comes first by name too, so that a console
    /// begins with it.
    pub fn service(self) -> &'static str {
        match self {
            Self::First => "shop",
            Self::Second => "stock",
        }
    }

    /// How that one is deployed, as the configuration writes it.
    pub fn strategy(self) -> &'static str {
        match self {
            Self::First => "canary",
            Self::Second => "blue-green",
        }
    }

    /// How long an instance takes to become ready: where each begins anew, one must see it.
    pub fn slow_start_ms(self) -> u32 {
        match self {
            Self::First => 0,
            Self::Second => 1_500,
        }
    }

    /// What it is about, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::First => "chapter 1: a canary, a bad release, and the ways back",
            Self::Second => "chapter 2: blue-green, and a rolling restart",
        }
    }
}

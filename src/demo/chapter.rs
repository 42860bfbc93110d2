//! The chapters of the story. Each has a service of its own, so that neither waits for the other.

/// One chapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chapter {
    /// A canary: a good release, a bad one, and the ways back.
    First,
    /// Blue-green, and a rolling restart.
    Second,
    /// A pipeline: from a commit to production.
    Third,
}

impl Chapter {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::First, Self::Second, Self::Third];

    /// The service it is about. By name they come in the order of the chapters, so that a console
    /// begins with the first, and the next one is one row further.
    pub fn service(self) -> &'static str {
        match self {
            Self::First => "shop",
            Self::Second => "stock",
            Self::Third => "web",
        }
    }

    /// How that one is deployed, as the configuration writes it.
    pub fn strategy(self) -> &'static str {
        match self {
            Self::First | Self::Third => "canary",
            Self::Second => "blue-green",
        }
    }

    /// How long an instance takes to become ready: where each begins anew, one must see it.
    pub fn slow_start_ms(self) -> u32 {
        match self {
            Self::First | Self::Third => 0,
            Self::Second => 1_500,
        }
    }

    /// What it is about, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::First => "chapter 1: a canary, a bad release, and the ways back",
            Self::Second => "chapter 2: blue-green, and a rolling restart",
            Self::Third => "chapter 3: a pipeline, from commit to production",
        }
    }

    /// Whether it begins with commits, which only git can make.
    pub fn needs_git(self) -> bool {
        self == Self::Third
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_come_by_name_in_the_order_of_the_chapters() {
        assert!(Chapter::ALL.is_sorted());
        let names = Chapter::ALL.map(Chapter::service);
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
}

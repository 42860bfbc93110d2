//! Names and ids. A name that exists is a valid one: parsing is the only way to make it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Position of a record in the history, from 1, without gaps.
pub type Seq = u64;

/// The seq of the record that intended an effect; ties an outcome to its intent.
pub type EffectId = Seq;

/// Why a text is no valid name. The text says what is allowed, so it can be shown as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: use 1 to {max} characters of {allowed}")]
pub struct NameError {
    kind: &'static str,
    text: String,
    max: usize,
    allowed: &'static str,
}

/// The rules one kind of name obeys.
struct Rule {
    kind: &'static str,
    max: usize,
    also: &'static [u8],
    allowed: &'static str,
}

impl Rule {
    fn check(&self, text: &str) -> Result<(), NameError> {
        let bytes = text.as_bytes();
        let starts_well = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        let fits = bytes.len() <= self.max;
        let clean = bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || self.also.contains(b));
        if starts_well && fits && clean {
            return Ok(());
        }
        Err(NameError {
            kind: self.kind,
            text: crate::model::Clean::line(text, 64).into_string(),
            max: self.max,
            allowed: self.allowed,
        })
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $max:literal, $also:literal, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            const RULE: Rule = Rule { kind: $kind, max: $max, also: $also, allowed: $allowed };

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::RULE.check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(
    /// Any other configured name.
    Name, "name", 64, b"._-", "letters, digits and . _ -, beginning with a letter or digit"
);
name_type!(
    /// A service, as `[service.NAME]` names it.
    ServiceName, "service name", 64, b"._-", "letters, digits and . _ -, beginning with a letter or digit"
);
name_type!(
    /// An environment. At most 16 characters: the history's column holds no more.
    EnvName, "environment name", 16, b"._-", "letters, digits and . _ -, beginning with a letter or digit"
);
name_type!(
    /// A runtime, as `[runtime.NAME]` names it.
    RuntimeName, "runtime name", 64, b"._-", "letters, digits and . _ -, beginning with a letter or digit"
);
name_type!(
    /// A balancer, as `[balancer.NAME]` names it.
    BalancerName, "balancer name", 64, b"._-", "letters, digits and . _ -, beginning with a letter or digit"
);
name_type!(
    /// A source of metrics, as `[metrics.NAME]` names it.
    MetricsName, "metrics name", 64, b"._-", "letters, digits and . _ -, beginning with a letter or digit"
);
name_type!(
    /// A balancer's server entry; safe to put into a HAProxy command line.
    ServerName, "server name", 64, b"._-", "letters, digits and . _ -, beginning with a letter or digit"
);
name_type!(
    /// A version as people write it. At most 32 ASCII characters: the history's column holds no
    /// more, and look-alike letters have no place in a name that decides what runs.
    Version, "version", 32, b"._+-", "ASCII letters, digits and . _ + -, beginning with a letter or digit"
);

name_type!(
    /// What whoever deploys calls their request, so that asking again begins nothing twice: a
    /// pipeline's run, a commit.
    RequestId, "request id", 128, b"._:/+-", "letters, digits and . _ : / + -, beginning with a letter or digit"
);

name_type!(
    /// A pipeline, as `[pipeline.NAME]` names it.
    PipelineName, "pipeline name", 64, b"._-", "letters, digits and . _ -, beginning with a letter or digit"
);
name_type!(
    /// A stage of a pipeline.
    StageName, "stage name", 32, b"._-", "letters, digits and . _ -, beginning with a letter or digit"
);

/// One service in one environment: what a rollout acts on. Written `service@environment`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Placement {
    /// The service.
    pub service: ServiceName,
    /// The environment it runs in.
    pub environment: EnvName,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.service, self.environment)
    }
}

impl FromStr for Placement {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (service, environment) = text.rsplit_once('@').unwrap_or((text, ""));
        Ok(Self {
            service: service.parse()?,
            environment: environment.parse()?,
        })
    }
}

impl TryFrom<String> for Placement {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Placement> for String {
    fn from(placement: Placement) -> String {
        placement.to_string()
    }
}

/// A rollout's number as people say it: `#1841`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutNumber(pub u64);

impl fmt::Display for RolloutNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A run of a pipeline as people say it: `p12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunNumber(pub u64);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl FromStr for RunNumber {
    type Err = RunNumberError;

    fn from_str(text: &str) -> Result<Self, RunNumberError> {
        let digits = text.strip_prefix('p').unwrap_or(text);
        digits.parse().map(Self).map_err(|_| RunNumberError)
    }
}

/// Why a text is no run's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no run of a pipeline: write p12 or 12, as `wheelhouse pipeline list` shows it")]
pub struct RunNumberError;

/// A run's identity: UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A rollout's identity: UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutId(pub Uuid);

impl RolloutId {
    /// The identity of the rollout that moves the n-th part with this one, n from 1: as unused as
    /// this one, whose low byte it differs in.
    pub fn of_part(self, n: u8) -> Self {
        Self(of_part(self.0, n))
    }
}

/// A UUIDv7's low bits are random: one that differs in the last byte is taken by nobody.
fn of_part(id: Uuid, n: u8) -> Uuid {
    Uuid::from_u128(id.as_u128() ^ u128::from(n))
}

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A release's identity, carried by its instances as the label `wheelhouse.release`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(pub Uuid);

impl ReleaseId {
    /// The identity of the release that the n-th part gets with this one, n from 1.
    pub fn of_part(self, n: u8) -> Self {
        Self(of_part(self.0, n))
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_with_the_rule_in_the_text() {
        for bad in ["", "-x", "a b", "a;b", "a\nb", "../etc", "v1\u{202e}", "é"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
        let error = "a;b"
            .parse::<ServerName>()
            .expect_err("a semicolon is refused");
        assert!(error.to_string().contains("letters, digits"), "{error}");
        assert!("x".repeat(17).parse::<EnvName>().is_err());
        assert!("x".repeat(33).parse::<Version>().is_err());
    }

    #[test]
    fn a_placement_survives_its_text_form() {
        let placement: Placement = "checkout-api@production".parse().expect("valid");
        assert_eq!(placement.to_string().parse::<Placement>(), Ok(placement));
        assert!("checkout-api".parse::<Placement>().is_err());
    }
}

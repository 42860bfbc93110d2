//! Reads `[policy]` and holds everything else against it. A policy bounds: services may be stricter,
//! never looser, and a fault names both lines, the one that bounds and the one that breaks it.
//!
//! Roles are the policy's alone: where one is written, `[roles]` stands in the same file. Must not
//! know what the settings are for.

use super::accepted::{POLICY, POLICY_ENV};
use super::durations;
use super::errors::Problems;
use super::reader::{Limit, Located, Reader, duration_ms, parsed};
use super::takeover::StepsText;
use super::tree::{Node, Place, Value};
use crate::model::EnvName;
use crate::model::service::{AnalysisSettings, CanarySettings};
use std::collections::BTreeMap;

const MINUTE: u64 = 60_000;
const WEEK: u64 = 7 * 24 * 60 * MINUTE;

const MEND: &str = "be as strict as the policy, or ask whoever owns that file";

/// What bounds one environment.
#[derive(Debug, Default)]
struct Bounds {
    protected: Option<Located<bool>>,
    min_soak_ms: Option<Located<u64>>,
    min_steps: Option<Located<usize>>,
    max_first_weight: Option<Located<u8>>,
    min_requests: Option<Located<u64>>,
    max_error_ratio: Option<Located<f64>>,
    max_failures: Option<Located<u32>>,
}

/// All bounds, by environment.
#[derive(Debug, Default)]
pub(super) struct Policy {
    environments: BTreeMap<EnvName, Bounds>,
}

/// The file that holds the policy, if one is written.
pub(super) fn file(root: &Node) -> Option<usize> {
    Some(written(root)?.file)
}

fn written(root: &Node) -> Option<&Place> {
    let member = root.table()?.get("policy")?;
    Some(&member.key)
}

/// Reads the policy.
pub(super) fn read(root: &Node, problems: &Problems<'_>) -> Policy {
    let Some(node) = root.get("policy") else {
        return Policy::default();
    };
    let reader = Reader::new(node, &POLICY, problems);
    own_roles(root, problems);
    let Some(all) = reader.node("env") else {
        return Policy::default();
    };
    let mut environments = BTreeMap::new();
    for (key, place, node) in Reader::open(all, problems).entries() {
        let name = Located {
            value: key,
            place: place.clone(),
        };
        let bounds = bounds(node, problems);
        if let Some(name) = parsed::<EnvName>(&name, "choose another name", problems) {
            environments.insert(name.value, bounds);
        }
    }
    Policy { environments }
}

/// Roles in another file would let its owner make themselves an operator.
fn own_roles(root: &Node, problems: &Problems<'_>) {
    let roles = root.table().and_then(|table| table.get("roles"));
    let (Some(policy), Some(roles)) = (written(root), roles) else {
        return;
    };
    let members = roles.node.table().into_iter().flatten();
    for (_, member) in members.filter(|(_, member)| member.key.file != policy.file) {
        let what = format!(
            "roles are the policy's alone, and that is in {}",
            problems.line_of(policy)
        );
        problems.error(&member.key, what, "write [roles] into that file");
    }
}

fn bounds(node: &Node, problems: &Problems<'_>) -> Bounds {
    let reader = Reader::new(node, &POLICY_ENV, problems);
    let located = |key: &str| reader.node(key).map(|node| node.place.clone());
    let soak = reader.node("min_soak").and_then(|node| {
        Some(Located {
            value: duration_ms(node, 1_000..=WEEK, problems)?,
            place: node.place.clone(),
        })
    });
    let ratio = reader.limit("max_error_ratio", 0.0..=1.0, "use a ratio from 0 to 1");
    Bounds {
        protected: located("protected").map(|place| Located {
            value: reader.flag("protected", false),
            place,
        }),
        min_soak_ms: soak,
        min_steps: reader.integer("min_steps", 1..=50),
        max_first_weight: reader.integer("max_first_weight", 1..=100),
        min_requests: reader.integer("min_requests", 0..=1_000_000_000),
        max_error_ratio: match ratio {
            Limit::At(found) => Some(found),
            Limit::Off | Limit::Unset => None,
        },
        max_failures: reader.integer("max_failures", 1..=100),
    }
}

impl Policy {
    /// Whether an environment is protected, by its own word or by the policy's. Its own word may
    /// not be a no to the policy's yes.
    pub(super) fn protects(
        &self,
        name: &EnvName,
        root: &Node,
        own: bool,
        problems: &Problems<'_>,
    ) -> bool {
        let bounds = self.environments.get(name);
        let Some(asked) = bounds.and_then(|bounds| bounds.protected.as_ref()) else {
            return own;
        };
        let env = root.get("env").and_then(|all| all.get(name.as_str()));
        let written = env.and_then(|env| env.get("protected"));
        if let Some(written) = written
            && asked.value
            && matches!(written.value, Value::Flag(false))
        {
            let what = format!(
                "is false, but {} asks for true",
                problems.line_of(&asked.place)
            );
            problems.error(&written.place, what, MEND);
        }
        own || asked.value
    }

    /// Holds a service in an environment against the bounds. `node` is what it is made of, so that
    /// a fault can name the line.
    pub(super) fn judge(
        &self,
        env: &EnvName,
        node: &Node,
        steps: Option<StepsText<'_>>,
        canary: &CanarySettings,
        analysis: &AnalysisSettings,
        problems: &Problems<'_>,
    ) {
        let Some(bounds) = self.environments.get(env) else {
            return;
        };
        let judge = Judge { node, problems };
        if let Some(steps) = steps {
            judge.steps(bounds, &steps);
            judge.requests(bounds, canary);
        }
        judge.analysis(bounds, analysis);
    }
}

struct Judge<'a> {
    node: &'a Node,
    problems: &'a Problems<'a>,
}

impl Judge<'_> {
    fn steps(&self, bounds: &Bounds, text: &StepsText<'_>) {
        let (steps, list) = (text.steps, [text.table, text.list]);
        let shortest = steps.iter().map(|step| step.soak_ms).min();
        if let (Some(least), Some(shortest)) = (&bounds.min_soak_ms, shortest)
            && shortest < least.value
        {
            let (is, asked) = (durations::text(shortest), durations::text(least.value));
            let what = format!("a step soaks for {is}, less than the {asked}");
            let key = match self.says_soak(list) {
                true => text.list,
                false => "soak",
            };
            self.breaks([text.table, key], &what, least);
        }
        if let Some(least) = &bounds.min_steps
            && steps.len() < least.value
        {
            let what = format!("has {} steps, fewer than the {}", steps.len(), least.value);
            self.breaks(list, &what, least);
        }
        if let (Some(most), Some(first)) = (&bounds.max_first_weight, steps.first())
            && first.weight_percent > most.value
        {
            let (is, asked) = (first.weight_percent, most.value);
            let what = format!("begins with {is} %, more than the {asked} %");
            self.breaks(list, &what, most);
        }
    }

    fn requests(&self, bounds: &Bounds, canary: &CanarySettings) {
        if let Some(least) = &bounds.min_requests
            && canary.min_requests < least.value
        {
            let what = format!("is {}, less than the {}", canary.min_requests, least.value);
            self.breaks(["canary", "min_requests"], &what, least);
        }
    }

    fn analysis(&self, bounds: &Bounds, analysis: &AnalysisSettings) {
        if let Some(most) = &bounds.max_error_ratio {
            let what = match analysis.error_ratio {
                None => Some(format!("is switched off, beyond the {}", most.value)),
                Some(is) if is > most.value => {
                    Some(format!("is {is}, more than the {}", most.value))
                }
                Some(_) => None,
            };
            if let Some(what) = what {
                self.breaks(["analysis", "error_ratio"], &what, most);
            }
        }
        if let Some(most) = &bounds.max_failures
            && analysis.failures > most.value
        {
            let what = format!("is {}, more than the {}", analysis.failures, most.value);
            self.breaks(["analysis", "failures"], &what, most);
        }
    }

    /// Whether a step says itself how long it soaks.
    fn says_soak(&self, [table, list]: [&str; 2]) -> bool {
        let steps = self.node.get(table).and_then(|table| table.get(list));
        let list = match steps.map(|steps| &steps.value) {
            Some(Value::List(list)) => list.as_slice(),
            _ => &[],
        };
        list.iter().any(|step| step.get("soak").is_some())
    }

    /// Reports a bound that is broken, at the key that breaks it, else at the table that leaves it
    /// to a default.
    fn breaks<T>(&self, [table, key]: [&str; 2], what: &str, bound: &Located<T>) {
        let table = self.node.get(table);
        let key_of = |node: &Node| node.get(key).map(|node| node.place.clone());
        let place = table.map_or_else(
            || self.node.place.of_key(key),
            |node| key_of(node).unwrap_or_else(|| node.place.of_key(key)),
        );
        let line = self.problems.line_of(&bound.place);
        let what = format!("{what} that the policy asks for ({line})");
        self.problems.error(&place, what, MEND);
    }
}

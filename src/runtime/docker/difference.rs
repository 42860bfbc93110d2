//! What differs between two containers, field by field, in lines for people. Pure.

use crate::model::container::Container;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Longest value shown, in characters.
const VALUE_MAX: usize = 60;

/// Lines such as `memory_bytes: 256 → 512`, in the order of the fields' names. Of variables only
/// the names are told: values may be secrets.
pub fn difference(
    old: (&Container, &BTreeMap<String, String>),
    new: (&Container, &BTreeMap<String, String>),
) -> Vec<String> {
    let mut lines = Vec::new();
    let (before, after) = (fields(old.0), fields(new.0));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (was, is) = (before.get(name), after.get(name));
        if was != is {
            lines.push(format!("{name}: {} → {}", shown(was), shown(is)));
        }
    }
    let names: BTreeSet<_> = old.1.keys().chain(new.1.keys()).collect();
    for name in names {
        let word = match (old.1.get(name), new.1.get(name)) {
            (None, Some(_)) => "added",
            (Some(_), None) => "removed",
            (was, is) if was != is => "changed",
            _ => continue,
        };
        lines.push(format!("variable {name}: {word}"));
    }
    lines
}

/// Every field that is there, those of the shape without their prefix.
fn fields(container: &Container) -> BTreeMap<String, Value> {
    let Ok(Value::Object(mut all)) = serde_json::to_value(container) else {
        return BTreeMap::new();
    };
    // Which tag it was resolved from is told by the image.
    let shape = all.remove("shape");
    let mut fields: BTreeMap<_, _> = all.into_iter().collect();
    if let Some(Value::Object(shape)) = shape {
        fields.extend(shape);
    }
    fields
}

fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => return "as the image says".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
            let words: Vec<_> = list.iter().filter_map(Value::as_str).collect();
            format!("[{}]", words.join(", "))
        }
        Some(value) => value.to_string(),
    };
    crate::model::Clean::line(&text, VALUE_MAX).into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::container::{Pin, Shape};

    #[test]
    fn each_field_that_changed_has_a_line_and_no_variable_its_value() {
        let old = Container {
            image: "shop:v1".to_owned(),
            port: Some(8080),
            shape: Shape {
                memory_bytes: Some(256),
                user: Some("app".to_owned()),
                ..Shape::default()
            },
            ..Container::default()
        };
        let new = Container {
            image: "shop:v2".to_owned(),
            pin: Some(Pin::Digest("sha256:aa".to_owned())),
            shape: Shape {
                memory_bytes: Some(512),
                volumes: Some(vec!["/a:/b".to_owned()]),
                user: Some("app".to_owned()),
                ..Shape::default()
            },
            ..old.clone()
        };
        let variable = |name: &str, value: &str| BTreeMap::from([(name.into(), value.into())]);
        let lines = difference(
            (&old, &variable("TOKEN", "one")),
            (&new, &variable("TOKEN", "two")),
        );
        assert_eq!(
            lines,
            [
                "image: shop:v1 → shop:v2",
                "memory_bytes: 256 → 512",
                "pin: as the image says → {\"digest\":\"sha256:aa\"}",
                "volumes: as the image says → [/a:/b]",
                "variable TOKEN: changed",
            ]
        );
        assert!(difference((&old, &BTreeMap::new()), (&old, &BTreeMap::new())).is_empty());
    }
}

//! One layer over another.
//!
//! | both have | result |
//! |---|---|
//! | maps | key by key |
//! | lists whose items have names | item by item: `extraVolumes`, `extraEnvs` by `name`, `taints` by `key` and `effect` |
//! | lists of arguments (v1beta4) | all values of a name are replaced together: a flag may be there more than once |
//! | other lists, words | the upper one |
//! | `null` in the upper one | nothing |

use crate::value::{Content, Value};

/// What names the items of a list, by the key that it is behind.
fn names(key: &str) -> Option<&'static [&'static str]> {
    match key {
        "extraVolumes" | "extraEnvs" | "extraArgs" | "kubeletExtraArgs" => Some(&["name"]),
        "taints" => Some(&["key", "effect"]),
        _ => None,
    }
}

/// Lays `upper` over `lower`, which is behind `key`. Nothing is left where the upper one is null.
pub fn over(lower: Option<Value>, upper: Value, key: &str) -> Option<Value> {
    let Value { content, origin } = upper;
    match (lower.map(|value| value.content), content) {
        (_, Content::Null) => None,
        (Some(Content::Map(mut entries)), Content::Map(new)) => {
            for (name, value) in new {
                let at = entries.iter().position(|(there, _)| *there == name);
                let below = at.map(|i| entries[i].1.clone());
                match (at, over(below, value, &name)) {
                    (Some(i), Some(value)) => entries[i].1 = value,
                    (Some(i), None) => drop(entries.remove(i)),
                    (None, Some(value)) => entries.push((name, value)),
                    (None, None) => {}
                }
            }
            Some(Value { content: Content::Map(entries), origin })
        }
        (None, Content::Map(new)) => {
            // Nulls in it delete nothing, and are nothing.
            let kept = new.into_iter().filter_map(|(name, value)| Some((name.clone(), over(None, value, &name)?)));
            Some(Value { content: Content::Map(kept.collect()), origin })
        }
        (Some(Content::List(items)), Content::List(new)) if names(key).is_some() => {
            Some(Value { content: Content::List(kept(by_name(items, new, names(key).unwrap_or_default()))), origin })
        }
        (_, Content::List(items)) => Some(Value { content: Content::List(kept(items)), origin }),
        (_, content) => Some(Value { content, origin }),
    }
}

/// Items of lists of arguments whose value is null delete what is below, and are nothing.
fn kept(mut items: Vec<Value>) -> Vec<Value> {
    items.retain(|item| !item.at(&["value"]).is_some_and(|value| value.content == Content::Null));
    items
}

fn name_of(item: &Value, names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| item.at(&[name]).and_then(Value::as_text).map(str::to_owned)).collect()
}

fn by_name(items: Vec<Value>, new: Vec<Value>, names: &[&str]) -> Vec<Value> {
    let mut result: Vec<Value> = Vec::new();
    let has = |list: &[Value], name: &Vec<Option<String>>| list.iter().any(|item| name_of(item, names) == *name);
    for item in items {
        let name = name_of(&item, names);
        if !has(&new, &name) {
            result.push(item);
        } else if !has(&result, &name) {
            // All that the upper list has of this name, where the lower one had it first.
            result.extend(new.iter().filter(|item| name_of(item, names) == name).cloned());
        }
    }
    for item in new {
        if !result.contains(&item) {
            result.push(item);
        }
    }
    result
}

//! One layer over another.
//!
//! | both have | result |
//! |---|---|
//! | maps | key by key |
//! | lists whose items have names | item by item: `extraVolumes`, `extraEnvs` by `name`, `taints` by `key` and `effect` |
//! | lists of arguments (v1beta4) | all values of a name are replaced together: a flag may be there more than once |
//! | other lists, words | the upper one |
//! | `null` in the upper one | nothing |

use std::collections::{HashMap, HashSet};

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
        (Some(Content::Map(entries)), Content::Map(new)) => {
            let merged = by_key(entries, new, over);
            Some(Value { content: Content::Map(merged), origin })
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

/// Entries of a map under those of another: values that both have become what `lay` makes of them, and are gone where that
/// is nothing. Each key is looked up once, however many there are. Of a key that is there twice, the first counts.
pub fn by_key(
    entries: Vec<(String, Value)>,
    new: Vec<(String, Value)>,
    lay: impl Fn(Option<Value>, Value, &str) -> Option<Value>,
) -> Vec<(String, Value)> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(entries.len());
    for (at, (name, _)) in entries.iter().enumerate() {
        places.entry(name.clone()).or_insert(at);
    }
    let mut slots: Vec<(String, Option<Value>)> =
        entries.into_iter().map(|(name, value)| (name, Some(value))).collect();
    for (name, value) in new {
        match places.get(&name).and_then(|at| slots.get_mut(*at)) {
            Some((_, slot)) => *slot = lay(slot.take(), value, &name),
            None => {
                if let Some(value) = lay(None, value, &name) {
                    places.insert(name.clone(), slots.len());
                    slots.push((name, Some(value)));
                }
            }
        }
    }
    slots.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
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
    let mut upper: HashMap<Vec<Option<String>>, Vec<Value>> = HashMap::new();
    let mut order = Vec::new();
    for item in new {
        let name = name_of(&item, names);
        let all = upper.entry(name.clone()).or_insert_with(|| {
            order.push(name);
            Vec::new()
        });
        all.push(item);
    }
    let mut result: Vec<Value> = Vec::new();
    let mut placed: HashSet<Vec<Option<String>>> = HashSet::new();
    for item in items {
        let name = name_of(&item, names);
        match upper.get_mut(&name) {
            None => result.push(item),
            // All that the upper list has of this name, where the lower one had it first.
            Some(all) if placed.insert(name) => result.append(all),
            Some(_) => {}
        }
    }
    for name in &order {
        result.append(upper.entry(name.clone()).or_default());
    }
    result
}

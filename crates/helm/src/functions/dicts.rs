//! Maps.

use kiln_gotmpl::{Dict, Failure, Value};

use super::Table;
use super::arguments::{dict, exact, least, shown, text};
use super::convert::copied;

pub(crate) const TABLE: Table = &[
    ("dict", make),
    ("get", |a| {
        let [map, key] = exact(a)?;
        Ok(dict(map)?.get(text(key)?).unwrap_or_else(|| "".into()))
    }),
    ("set", |a| {
        let [map, key, value] = exact(a)?;
        dict(map)?.insert(text(key)?, value.clone());
        Ok(map.clone())
    }),
    ("unset", |a| {
        let [map, key] = exact(a)?;
        dict(map)?.remove(text(key)?);
        Ok(map.clone())
    }),
    ("hasKey", |a| {
        let [map, key] = exact(a)?;
        Ok(dict(map)?.get(text(key)?).is_some().into())
    }),
    ("pluck", |a| {
        least(a, 1)?;
        let (key, maps) = a.split_first().ok_or("wants a key")?;
        let key = text(key)?;
        let found = maps.iter().map(|map| Ok(dict(map)?.get(key))).collect::<Result<Vec<_>, Failure>>()?;
        Ok(Value::list(found.into_iter().flatten()))
    }),
    ("keys", |a| {
        let maps = a.iter().map(dict).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::list(maps.iter().flat_map(Dict::entries).map(|(key, _)| key.into())))
    }),
    ("values", |a| {
        let [map] = exact(a)?;
        Ok(Value::list(dict(map)?.entries().into_iter().map(|(_, value)| value)))
    }),
    ("pick", |a| chosen(a, true)),
    ("omit", |a| chosen(a, false)),
    ("merge", |a| merged(a, false)),
    ("mustMerge", |a| merged(a, false)),
    ("mergeOverwrite", |a| merged(a, true)),
    ("mustMergeOverwrite", |a| merged(a, true)),
    ("dig", dig),
    ("deepCopy", |a| exact(a).and_then(|[value]| copied(value))),
    ("mustDeepCopy", |a| exact(a).and_then(|[value]| copied(value))),
];

fn make(arguments: &[Value]) -> Result<Value, Failure> {
    let map = Dict::new();
    for pair in arguments.chunks(2) {
        let (key, value) = match pair {
            [key, value] => (key, value.clone()),
            [key] => (key, "".into()),
            _ => continue,
        };
        map.insert(shown(key)?, value);
    }
    Ok(Value::Map(map))
}

fn chosen(arguments: &[Value], keep: bool) -> Result<Value, Failure> {
    least(arguments, 1)?;
    let (map, keys) = arguments.split_first().ok_or("wants a map")?;
    let keys = keys.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let entries = dict(map)?.entries().into_iter().filter(|(key, _)| keys.contains(&key.as_str()) == keep);
    Ok(Value::dict(entries))
}

/// Maps nested deeper than this hold themselves, most likely.
const MAX_DEPTH: usize = 100;

/// mergo's `Merge`: into the first, which it changes; what is empty counts as missing.
fn merged(arguments: &[Value], overwrite: bool) -> Result<Value, Failure> {
    least(arguments, 1)?;
    let (target, sources) = arguments.split_first().ok_or("wants a map")?;
    let into = dict(target)?;
    for source in sources {
        merge(&into, &dict(source)?, overwrite, 0)?;
    }
    Ok(target.clone())
}

fn merge(into: &Dict, from: &Dict, overwrite: bool, depth: usize) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        return Err(Failure::new("maps are nested too deep to merge, or hold themselves"));
    }
    if into.is(from) {
        return Ok(());
    }
    for (key, value) in from.entries() {
        match (into.get(&key), &value) {
            (Some(Value::Map(own)), Value::Map(other)) => merge(&own, other, overwrite, depth + 1)?,
            (Some(own), other) if own.truth() => {
                if overwrite && other.truth() {
                    into.insert(key, value);
                }
            }
            (_, _) => into.insert(key, value),
        }
    }
    Ok(())
}

/// `dig "a" "b" default map`.
fn dig(arguments: &[Value]) -> Result<Value, Failure> {
    least(arguments, 3)?;
    let [keys @ .., default, map] = arguments else { return Err("wants keys, a default and a map".into()) };
    let mut at = Value::Map(dict(map)?);
    for key in keys {
        let Value::Map(map) = &at else {
            return Err(Failure::new(format!("`{}` is asked of {}, which is no map", text(key)?, at.noun())));
        };
        match map.get(text(key)?) {
            Some(value) => at = value,
            None => return Ok(default.clone()),
        }
    }
    Ok(at)
}

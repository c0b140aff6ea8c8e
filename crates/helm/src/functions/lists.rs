//! Lists.

use kiln_gotmpl::{Failure, Value};

use super::arguments::{entries, exact, int, least, shown, to_int64};
use super::convert::equal;
use super::{MAX_LIST, Table, too_many};

pub(crate) const TABLE: Table = &[
    ("list", |a| Ok(Value::list(a.iter().cloned()))),
    ("tuple", |a| Ok(Value::list(a.iter().cloned()))),
    ("append", append),
    ("mustAppend", append),
    ("push", append),
    ("mustPush", append),
    ("prepend", prepend),
    ("mustPrepend", prepend),
    ("first", |a| end(a, |items| items.first().cloned())),
    ("mustFirst", |a| end(a, |items| items.first().cloned())),
    ("last", |a| end(a, |items| items.last().cloned())),
    ("mustLast", |a| end(a, |items| items.last().cloned())),
    ("rest", |a| part(a, |items| items.get(1..).map(<[Value]>::to_vec))),
    ("mustRest", |a| part(a, |items| items.get(1..).map(<[Value]>::to_vec))),
    ("initial", |a| part(a, |items| items.split_last().map(|(_, rest)| rest.to_vec()))),
    ("mustInitial", |a| part(a, |items| items.split_last().map(|(_, rest)| rest.to_vec()))),
    ("reverse", |a| part(a, |items| Some(items.iter().rev().cloned().collect()))),
    ("mustReverse", |a| part(a, |items| Some(items.iter().rev().cloned().collect()))),
    ("uniq", uniq),
    ("mustUniq", uniq),
    ("without", without),
    ("mustWithout", without),
    ("has", has),
    ("mustHas", has),
    ("compact", |a| part(a, |items| Some(items.iter().filter(|item| item.truth()).cloned().collect()))),
    ("mustCompact", |a| part(a, |items| Some(items.iter().filter(|item| item.truth()).cloned().collect()))),
    ("slice", slice),
    ("mustSlice", slice),
    ("concat", concat),
    ("chunk", chunk),
    ("mustChunk", chunk),
    ("until", |a| {
        let [count] = exact(a)?;
        let count = int(count)?;
        range(0, count, if count < 0 { -1 } else { 1 })
    }),
    ("untilStep", |a| {
        let [start, stop, step] = exact(a)?;
        range(int(start)?, int(stop)?, int(step)?)
    }),
    ("seq", seq),
];

/// The entries; an error that names what came instead.
fn items(value: &Value) -> Result<Vec<Value>, Failure> {
    entries(value).ok_or_else(|| Failure::new(format!("wants a list, not {}", value.noun())))
}

fn append(arguments: &[Value]) -> Result<Value, Failure> {
    let [list, value] = exact(arguments)?;
    let mut all = items(list)?;
    all.push(value.clone());
    Ok(Value::list(all))
}

fn prepend(arguments: &[Value]) -> Result<Value, Failure> {
    let [list, value] = exact(arguments)?;
    let mut all = items(list)?;
    all.insert(0, value.clone());
    Ok(Value::list(all))
}

fn end(arguments: &[Value], pick: fn(&[Value]) -> Option<Value>) -> Result<Value, Failure> {
    let [list] = exact(arguments)?;
    Ok(pick(&items(list)?).unwrap_or_default())
}

fn part(arguments: &[Value], pick: fn(&[Value]) -> Option<Vec<Value>>) -> Result<Value, Failure> {
    let [list] = exact(arguments)?;
    Ok(pick(&items(list)?).map_or(Value::list([]), Value::list))
}

fn uniq(arguments: &[Value]) -> Result<Value, Failure> {
    let [list] = exact(arguments)?;
    let mut kept: Vec<Value> = Vec::new();
    for item in items(list)? {
        let mut known = false;
        for other in &kept {
            known = known || equal(other, &item)?;
        }
        if !known {
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}

fn contains(list: &[Value], wanted: &Value) -> Result<bool, Failure> {
    for item in list {
        if equal(item, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn without(arguments: &[Value]) -> Result<Value, Failure> {
    least(arguments, 1)?;
    let (list, unwanted) = arguments.split_first().ok_or("wants a list")?;
    let mut kept = Vec::new();
    for item in items(list)? {
        if !contains(unwanted, &item)? {
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}

fn has(arguments: &[Value]) -> Result<Value, Failure> {
    let [wanted, list] = exact(arguments)?;
    if *list == Value::Nil {
        return Ok(false.into());
    }
    contains(&items(list)?, wanted).map(Value::Bool)
}

fn slice(arguments: &[Value]) -> Result<Value, Failure> {
    least(arguments, 1)?;
    let (list, ends) = arguments.split_first().ok_or("wants a list")?;
    let all = items(list)?;
    if all.is_empty() {
        return Ok(Value::Nil);
    }
    let place = |at: usize, default: usize| match ends.get(at) {
        None => Some(default),
        Some(end) => usize::try_from(to_int64(end)).ok(),
    };
    let bounds = place(0, 0).zip(place(1, all.len()));
    let part = bounds.and_then(|(from, to)| all.get(from..to));
    part.map(|part| Value::list(part.iter().cloned())).ok_or_else(|| Failure::new("slice bounds out of range"))
}

fn concat(arguments: &[Value]) -> Result<Value, Failure> {
    let mut all = Vec::new();
    for list in arguments {
        all.extend(items(list)?);
        if all.len() > MAX_LIST {
            return Err(too_many());
        }
    }
    Ok(Value::list(all))
}

fn chunk(arguments: &[Value]) -> Result<Value, Failure> {
    let [size, list] = exact(arguments)?;
    let size = usize::try_from(int(size)?.max(1)).unwrap_or(1);
    Ok(Value::list(items(list)?.chunks(size).map(|chunk| Value::list(chunk.iter().cloned()))))
}

/// Whole numbers of Go's `int` from `start` up or down to `stop`, without it.
fn range(start: i64, stop: i64, step: i64) -> Result<Value, Failure> {
    let mut all = Vec::new();
    let mut at = start;
    let wanted = if stop < start { step < 0 } else { step > 0 };
    while wanted && (if step < 0 { at > stop } else { at < stop }) {
        if all.len() >= MAX_LIST {
            return Err(too_many());
        }
        all.push(Value::Int(at));
        at = match at.checked_add(step) {
            Some(next) => next,
            None => break,
        };
    }
    Ok(Value::list(all))
}

/// Like the program `seq`: both ends, in one text.
fn seq(arguments: &[Value]) -> Result<Value, Failure> {
    let numbers = arguments.iter().map(int).collect::<Result<Vec<_>, _>>()?;
    let (start, end, step) = match numbers.as_slice() {
        [] => return Ok("".into()),
        [end] => (1, *end, if *end < 1 { -1 } else { 1 }),
        [start, end] => (*start, *end, if end < start { -1 } else { 1 }),
        [start, step, end] => (*start, *end, *step),
        _ => return Ok("".into()),
    };
    if arguments.len() == 3 && (end < start) != (step < 0) && step != 0 {
        return Ok("".into());
    }
    let stop = end.saturating_add(if step < 0 { -1 } else { 1 });
    let Value::List(all) = range(start, stop, step)? else { return Ok("".into()) };
    let words = all.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
    Ok(words.join(" ").into())
}

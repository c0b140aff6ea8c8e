//! Lists, maps and objects.

use std::collections::BTreeMap;

use super::{
    Outcome, Row, argument_error, call_error, common_list, fields, integer, items, number, sequence, text, texts_of,
};
use crate::convert::{convert, together};
use crate::number::Number;
use crate::types::Type;
use crate::value::{Data, Value};

pub(super) const TABLE: &[Row] = &[
    ("alltrue", 1, 1, |args, _| Ok(flags(args)?.into_iter().all(|flag| flag).into())),
    ("anytrue", 1, 1, |args, _| Ok(flags(args)?.into_iter().any(|flag| flag).into())),
    ("chunklist", 2, 2, |args, _| chunklist(args)),
    ("coalesce", 1, super::MANY, |args, _| coalesce(args)),
    ("coalescelist", 1, super::MANY, |args, _| coalescelist(args)),
    ("compact", 1, 1, |args, _| compact(args)),
    ("concat", 1, super::MANY, |args, _| concat(args)),
    ("contains", 2, 2, |args, _| Ok(position(args)?.is_some().into())),
    ("distinct", 1, 1, |args, _| distinct(args)),
    ("element", 2, 2, |args, _| element(args)),
    ("flatten", 1, 1, |args, _| {
        let mut flat = Vec::new();
        flatten(items(args, 0)?, &mut flat);
        Ok(Value::tuple(flat))
    }),
    ("index", 2, 2, |args, _| match position(args)? {
        Some(at) => Ok(at.into()),
        None => call_error("there is no such element"),
    }),
    ("keys", 1, 1, |args, _| {
        let names = fields(args, 0)?.keys().map(|name| Value::from(name.as_str())).collect();
        Ok(if matches!(args[0].data, Data::Object(_)) { Value::tuple(names) } else { Value::list(Type::String, names) })
    }),
    ("length", 1, 1, |args, _| match args[0].as_str() {
        Some(text) => Ok(super::texts::length(text).into()),
        None if args[0].items().is_none() && args[0].fields().is_none() => {
            argument_error(0, "a text, a list, a set, a map, an object or a tuple is required")
        }
        None => Ok(args[0].children().count().into()),
    }),
    ("lookup", 2, 3, |args, _| lookup(args)),
    ("merge", 0, super::MANY, |args, _| merge(args)),
    ("range", 1, 3, |args, _| range(args)),
    ("reverse", 1, 1, |args, _| {
        let reversed = items(args, 0)?.iter().rev().cloned().collect();
        Ok(sequence(&args[0], reversed))
    }),
    ("slice", 3, 3, |args, _| slice(args)),
    ("values", 1, 1, |args, _| {
        let all = fields(args, 0)?.values().cloned().collect();
        Ok(match &args[0].data {
            Data::Map(element, _) => Value::list(element.clone(), all),
            _ => Value::tuple(all),
        })
    }),
    ("zipmap", 2, 2, |args, _| zipmap(args)),
];

fn flags(args: &[Value]) -> Result<Vec<bool>, super::FunctionError> {
    let flag = |item: &Value| match convert(item, &Type::Bool) {
        Ok(flag) => Ok(flag.as_bool().unwrap_or(false)),
        Err(error) => argument_error(0, error.to_string()),
    };
    items(args, 0)?.iter().map(flag).collect()
}

fn chunklist(args: &[Value]) -> Outcome {
    let list = items(args, 0)?;
    let size = match usize::try_from(integer(args, 1)?) {
        Ok(0) => list.len().max(1),
        Ok(size) => size,
        Err(_) => return argument_error(1, "the size must not be negative"),
    };
    let list = common_list(list)?;
    let (Data::List(element, list), true) = (&list.data, true) else { return argument_error(0, "a list is required") };
    let chunks = list.chunks(size).map(|chunk| Value::list(element.clone(), chunk.to_vec())).collect();
    Ok(Value::list(Type::list(element.clone()), chunks))
}

fn coalesce(args: &[Value]) -> Outcome {
    let Some((_, converted)) = together(args) else { return call_error("the arguments have no type in common") };
    let found = converted.into_iter().find(|value| !value.is_null() && value.as_str() != Some(""));
    found.map_or_else(|| call_error("all arguments are null or empty texts"), Ok)
}

fn coalescelist(args: &[Value]) -> Outcome {
    for index in 0..args.len() {
        if !args[index].is_null() && !items(args, index)?.is_empty() {
            return Ok(args[index].clone());
        }
    }
    call_error("all arguments are empty")
}

fn compact(args: &[Value]) -> Outcome {
    let all = items(args, 0)?.iter().filter(|item| !item.is_null()).cloned().collect();
    let all = texts_of(&[Value::tuple(all)], 0)?;
    Ok(Value::strings(all.into_iter().filter(|item| !item.is_empty())))
}

fn concat(args: &[Value]) -> Outcome {
    let mut all = Vec::new();
    for index in 0..args.len() {
        all.extend_from_slice(items(args, index)?);
    }
    if args.iter().all(|arg| matches!(arg.data, Data::List(..))) { common_list(&all) } else { Ok(Value::tuple(all)) }
}

/// Where the second argument is in the first.
fn position(args: &[Value]) -> Result<Option<usize>, super::FunctionError> {
    Ok(items(args, 0)?.iter().position(|item| item.same(&args[1])))
}

fn distinct(args: &[Value]) -> Outcome {
    let list = common_list(items(args, 0)?)?;
    let (element, all) = match &list.data {
        Data::List(element, all) => (element.clone(), all),
        _ => return argument_error(0, "a list is required"),
    };
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&a, &b| all[a].order(&all[b]).then(a.cmp(&b)));
    order.dedup_by(|later, earlier| all[*later].order(&all[*earlier]).is_eq());
    order.sort_unstable();
    Ok(Value::list(element, order.into_iter().map(|at| all[at].clone()).collect()))
}

fn element(args: &[Value]) -> Outcome {
    let all = items(args, 0)?;
    let at = integer(args, 1)?;
    if all.is_empty() {
        return argument_error(0, "an empty list has no elements");
    }
    match usize::try_from(at) {
        Ok(at) => Ok(all[at % all.len()].clone()),
        Err(_) => argument_error(1, "the index must not be negative"),
    }
}

fn flatten(all: &[Value], flat: &mut Vec<Value>) {
    for item in all {
        match item.items() {
            Some(inner) => flatten(inner, flat),
            None => flat.push(item.clone()),
        }
    }
}

fn lookup(args: &[Value]) -> Outcome {
    let (all, name) = (fields(args, 0)?, text(args, 1)?);
    match (all.get(&name), args.get(2)) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(default)) => match &args[0].data {
            Data::Map(element, _) => super::typed(&[Value::null(), Value::null(), default.clone()], 2, element),
            _ => Ok(default.clone()),
        },
        (None, None) => call_error(format!("there is no element `{name}`, and no default is given")),
    }
}

fn merge(args: &[Value]) -> Outcome {
    let mut all = BTreeMap::new();
    let mut types = Vec::new();
    for index in 0..args.len() {
        if args[index].is_null() {
            continue;
        }
        all.extend(fields(args, index)?.clone());
        if let Data::Map(element, _) = &args[index].data {
            types.push(element.clone());
        }
    }
    let maps =
        types.len() == args.iter().filter(|arg| !arg.is_null()).count() && types.windows(2).all(|two| two[0] == two[1]);
    Ok(match types.into_iter().next().filter(|_| maps) {
        Some(element) => Value::map(element, all),
        None => Value::object(all),
    })
}

fn range(args: &[Value]) -> Outcome {
    let numbers: Vec<Number> = (0..args.len()).map(|index| number(args, index)).collect::<Result<_, _>>()?;
    let one = Number::from(1_i64);
    let (start, end, step) = match numbers.as_slice() {
        [end] => (Number::from(0_i64), end.clone(), if end.is_negative() { one.neg() } else { one }),
        [start, end] => (start.clone(), end.clone(), if end < start { one.neg() } else { one }),
        [start, end, step] => (start.clone(), end.clone(), step.clone()),
        _ => return call_error("it takes one to three numbers"),
    };
    let down = end < start;
    if step.is_zero() || (step.is_negative() != down && start != end) {
        return call_error("the step leads away from the end");
    }
    let mut all = Vec::new();
    let mut at = start;
    while if down { at > end } else { at < end } {
        if all.len() >= 1024 {
            return call_error("more than 1024 numbers");
        }
        let Some(next) = at.add(&step) else { return call_error("a number is too large") };
        all.push(Value::from(std::mem::replace(&mut at, next)));
    }
    Ok(Value::list(Type::Number, all))
}

fn slice(args: &[Value]) -> Outcome {
    let all = items(args, 0)?;
    let (start, end) = (integer(args, 1)?, integer(args, 2)?);
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return call_error("an index must not be negative");
    };
    match all.get(from..to) {
        Some(part) if !matches!(args[0].data, Data::Set(..)) => Ok(sequence(&args[0], part.to_vec())),
        Some(_) => argument_error(0, "a set has no order"),
        None => call_error(format!("from {from} to {to} is not within 0 to {}", all.len())),
    }
}

fn zipmap(args: &[Value]) -> Outcome {
    let (names, all) = (texts_of(args, 0)?, items(args, 1)?);
    if names.len() != all.len() {
        return call_error(format!("there are {} keys and {} values", names.len(), all.len()));
    }
    let pairs = names.into_iter().zip(all.iter().cloned()).collect();
    Ok(match &args[1].data {
        Data::List(element, _) => Value::map(element.clone(), pairs),
        _ => Value::object(pairs),
    })
}

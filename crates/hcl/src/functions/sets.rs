//! Sets.

use super::{Outcome, Row, call_error, items};
use crate::convert::together;
use crate::types::Type;
use crate::value::{Data, Value};

/// How many combinations `setproduct` makes.
const MAX_PRODUCT: usize = 100_000;

pub(super) const TABLE: &[Row] = &[
    ("setintersection", 1, super::MANY, |args, _| {
        let (element, sets) = sets(args)?;
        let (first, others) =
            sets.split_first().map_or((&[][..], &[][..]), |(first, others)| (first.as_slice(), others));
        let within = |item: &&Value| others.iter().all(|set| set.binary_search_by(|other| other.order(item)).is_ok());
        Ok(Value::set(element, first.iter().filter(within).cloned().collect()))
    }),
    ("setproduct", 2, super::MANY, |args, _| setproduct(args)),
    ("setunion", 1, super::MANY, |args, _| {
        let (element, sets) = sets(args)?;
        Ok(Value::set(element, sets.into_iter().flatten().collect()))
    }),
];

/// The arguments as sorted sets of one type.
fn sets(args: &[Value]) -> Result<(Type, Vec<Vec<Value>>), super::FunctionError> {
    let mut all = Vec::new();
    for index in 0..args.len() {
        all.extend_from_slice(items(args, index)?);
    }
    let Some((element, converted)) = together(&all) else { return call_error("the elements have no type in common") };
    let mut converted = converted.into_iter();
    let set = |index| {
        let count = items(args, index).map_or(0, <[Value]>::len);
        let mut set: Vec<Value> = converted.by_ref().take(count).collect();
        set.sort_by(Value::order);
        set
    };
    Ok((element, (0..args.len()).map(set).collect()))
}

fn setproduct(args: &[Value]) -> Outcome {
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    let mut types = Vec::new();
    for index in 0..args.len() {
        let all = items(args, index)?;
        if rows.len().saturating_mul(all.len()) > MAX_PRODUCT {
            return call_error(format!("there are more than {MAX_PRODUCT} combinations"));
        }
        let Some((element, all)) = together(all) else { return call_error("the elements have no type in common") };
        types.push(element);
        rows = rows
            .iter()
            .flat_map(|row| all.iter().map(|item| row.iter().cloned().chain([item.clone()]).collect()))
            .collect();
    }
    let rows: Vec<Value> = rows.into_iter().map(Value::tuple).collect();
    let ordered = args.iter().all(|arg| matches!(arg.data, Data::List(..) | Data::Tuple(_)));
    Ok(if ordered { Value::list(Type::Tuple(types), rows) } else { Value::set(Type::Tuple(types), rows) })
}

//! The functions of expressions.
//!
//! `try`, `can` and `convert` look at expressions and are with the evaluator; `templatefile` is evaluated there too.

mod collections;
mod dates;
mod encodings;
mod files;
mod format;
mod hashes;
mod networks;
mod numbers;
mod patterns;
mod sets;
mod texts;
mod yaml;

use num_bigint::BigInt;

use crate::convert::{ConvertError, convert};
use crate::number::Number;
use crate::types::Type;
use crate::value::{Data, Value};
use crate::world::World;

/// Why a function has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FunctionError {
    /// An argument is not fit for it.
    #[error("argument {index}: {reason}")]
    Argument {
        /// Which, from 0.
        index: usize,
        /// Why, in one line.
        reason: String,
    },
    /// An argument is of the wrong type.
    #[error("argument {index}: {reason}")]
    Convert {
        /// Which, from 0.
        index: usize,
        /// Why.
        reason: ConvertError,
        /// The argument.
        value: Value,
    },
    /// What it was called for cannot be done.
    #[error("{reason}")]
    Call {
        /// Why, in one line.
        reason: String,
    },
}

/// What a function gives.
pub(crate) type Outcome = Result<Value, FunctionError>;

/// A function.
pub(crate) struct Function {
    least: usize,
    most: usize,
    /// Whether arguments may be null.
    pub nulls: bool,
    pub run: fn(&[Value], &dyn World) -> Outcome,
}

const MANY: usize = usize::MAX;

type Row = (&'static str, usize, usize, fn(&[Value], &dyn World) -> Outcome);

/// Functions that take null.
const NULLS: &[&str] = &[
    "coalesce",
    "jsonencode",
    "yamlencode",
    "compact",
    "merge",
    "lookup",
    "concat",
    "contains",
    "index",
    "zipmap",
    "format",
    "formatlist",
    "setproduct",
    "templatefile",
    "flatten",
    "coalescelist",
];

const TABLES: &[&[Row]] = &[
    texts::TABLE,
    patterns::TABLE,
    format::TABLE,
    collections::TABLE,
    sets::TABLE,
    numbers::TABLE,
    encodings::TABLE,
    hashes::TABLE,
    dates::TABLE,
    files::TABLE,
    networks::TABLE,
    REFUSED,
];

/// Functions which ask services that hold secrets.
const REFUSED: &[Row] = &[
    ("aws_secretsmanager", 1, 2, |_, _| refused("aws_secretsmanager", "AWS Secrets Manager")),
    ("aws_secretsmanager_raw", 1, 1, |_, _| refused("aws_secretsmanager_raw", "AWS Secrets Manager")),
    ("consul_key", 1, 1, |_, _| refused("consul_key", "Consul")),
    ("vault", 2, 2, |_, _| refused("vault", "Vault")),
];

fn refused(name: &str, service: &str) -> Outcome {
    call_error(format!(
        "{service} is not asked; read the value before and hand it in as a sensitive variable instead of `{name}`"
    ))
}

/// The function `name`.
pub(crate) fn find(name: &str) -> Option<Function> {
    let &(_, least, most, run) = TABLES.iter().flat_map(|table| table.iter()).find(|row| row.0 == name)?;
    Some(Function { least, most, nulls: NULLS.contains(&name), run })
}

/// The names of all functions.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().flat_map(|table| table.iter()).map(|row| row.0).chain(["try", "can", "convert"])
}

impl Function {
    /// Whether it takes `count` arguments.
    pub(crate) fn takes(&self, count: usize) -> bool {
        (self.least..=self.most).contains(&count)
    }

    /// How many it takes, for messages.
    pub(crate) fn expected(&self) -> String {
        match (self.least, self.most) {
            (0, 0) => "no arguments".to_owned(),
            (1, 1) => "one argument".to_owned(),
            (least, most) if least == most => format!("{least} arguments"),
            (least, MANY) => format!("at least {least} arguments"),
            (least, most) => format!("{least} to {most} arguments"),
        }
    }
}

pub(crate) fn call_error<T>(reason: impl Into<String>) -> Result<T, FunctionError> {
    Err(FunctionError::Call { reason: reason.into() })
}

pub(crate) fn argument_error<T>(index: usize, reason: impl Into<String>) -> Result<T, FunctionError> {
    Err(FunctionError::Argument { index, reason: reason.into() })
}

/// Argument `index` as `ty`.
fn typed(values: &[Value], index: usize, ty: &Type) -> Outcome {
    let Some(value) = values.get(index) else { return argument_error(index, "it is missing") };
    convert(value, ty).map_err(|reason| FunctionError::Convert { index, reason, value: value.clone() })
}

/// Argument `index` as a text.
pub(crate) fn text(values: &[Value], index: usize) -> Result<String, FunctionError> {
    match typed(values, index, &Type::String)?.data {
        Data::String(text) => Ok(text.to_string()),
        _ => argument_error(index, "a text is required"),
    }
}

/// Argument `index` as a number.
fn number(values: &[Value], index: usize) -> Result<Number, FunctionError> {
    match typed(values, index, &Type::Number)?.data {
        Data::Number(number) => Ok(number),
        _ => argument_error(index, "a number is required"),
    }
}

/// Argument `index` as a whole number.
fn integer(values: &[Value], index: usize) -> Result<i64, FunctionError> {
    match number(values, index)?.to_i64() {
        Some(number) => Ok(number),
        None => argument_error(index, "a whole number is required"),
    }
}

/// Argument `index` as a whole number of any size.
fn big(values: &[Value], index: usize) -> Result<BigInt, FunctionError> {
    match number(values, index)?.to_integer() {
        Some(number) => Ok(number),
        None => argument_error(index, "a whole number is required"),
    }
}

/// Argument `index` as a list of texts.
fn texts_of(values: &[Value], index: usize) -> Result<Vec<String>, FunctionError> {
    let list = typed(values, index, &Type::list(Type::String))?;
    let Some(items) = list.items() else { return argument_error(index, "a list of texts is required") };
    let item = |item: &Value| match item.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => argument_error(index, "an element is null"),
    };
    items.iter().map(item).collect()
}

/// The items of argument `index`, a list, set or tuple.
fn items(values: &[Value], index: usize) -> Result<&[Value], FunctionError> {
    match values.get(index).and_then(Value::items) {
        Some(items) => Ok(items),
        None => argument_error(index, "a list, a set or a tuple is required"),
    }
}

/// The fields of argument `index`, a map or object.
fn fields(values: &[Value], index: usize) -> Result<&std::collections::BTreeMap<String, Value>, FunctionError> {
    match values.get(index).and_then(Value::fields) {
        Some(fields) => Ok(fields),
        None => argument_error(index, "a map or an object is required"),
    }
}

/// A list if the items have one type as they are, a tuple if not.
fn sequence(like: &Value, items: Vec<Value>) -> Value {
    match &like.data {
        Data::List(element, _) | Data::Set(element, _) => Value::list(element.clone(), items),
        _ => Value::tuple(items),
    }
}

/// A list of the items in the type they have in common.
fn common_list(items: &[Value]) -> Outcome {
    match crate::convert::together(items) {
        Some((element, items)) => Ok(Value::list(element, items)),
        None => call_error("the elements have no type in common"),
    }
}

/// The text of a file.
pub(crate) fn read_text(world: &dyn World, path: &str) -> Result<String, FunctionError> {
    files::read_text(world, path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_function_is_there_once() {
        let names: Vec<&str> = super::names().collect();
        let unique: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), unique.len());
        let wanted = "abs abspath alltrue anytrue aws_secretsmanager aws_secretsmanager_raw basename base64decode \
            base64encode base64gzip bcrypt can ceil chomp chunklist cidrhost cidrnetmask cidrsubnet cidrsubnets coalesce \
            coalescelist compact concat consul_key contains convert csvdecode dirname distinct element endswith file \
            filebase64 fileexists fileset flatten floor format formatdate formatlist indent index join jsondecode \
            jsonencode keys legacy_isotime legacy_strftime length log lookup lower max md5 merge min parseint pathexpand \
            pow range reverse replace regex regexall regex_replace rfc3339_parse rsadecrypt setintersection setproduct \
            setunion sha1 sha256 sha512 signum slice sort split startswith strcontains strrev substr sum templatefile \
            textdecodebase64 textencodebase64 timestamp timeadd title trim trimprefix trimspace trimsuffix try \
            unix_timestamp_parse upper urlencode uuidv4 uuidv5 values vault yamldecode yamlencode zipmap";
        let wanted: BTreeSet<&str> = wanted.split_whitespace().collect();
        assert_eq!(wanted.difference(&unique).collect::<Vec<_>>(), Vec::<&&str>::new());
    }
}

//! Numbers: whole ones are Go's `int64`, and wrap around as they do there; decimals are counted exactly, as shopspring's
//! decimals are.

use kiln_gotmpl::{Failure, Value};

use super::Table;
use super::arguments::{exact, int, int64, least, shown, to_float, to_int64};

pub(crate) const TABLE: Table = &[
    ("atoi", |a| {
        let [value] = exact(a)?;
        let text = super::arguments::text(value)?;
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        Ok(Value::Int(text.parse().ok().filter(|_| plain).unwrap_or(0)))
    }),
    ("int64", |a| exact(a).map(|[value]| int64(to_int64(value)))),
    ("int", |a| exact(a).map(|[value]| Value::Int(to_int64(value)))),
    ("float64", |a| exact(a).map(|[value]| Value::Float(to_float(value)))),
    ("toDecimal", |a| {
        let [value] = exact(a)?;
        let text = shown(value)?;
        let octal = !text.is_empty() && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        Ok(int64(if octal { i64::from_str_radix(&text, 8).unwrap_or(0) } else { 0 }))
    }),
    ("add1", |a| exact(a).map(|[value]| int64(to_int64(value).wrapping_add(1)))),
    ("add", |a| Ok(int64(a.iter().fold(0, |sum: i64, value| sum.wrapping_add(to_int64(value)))))),
    ("sub", |a| two(a, |x, y| Ok(x.wrapping_sub(y)))),
    ("div", |a| two(a, |x, y| if y == 0 { Err(zero()) } else { Ok(x.wrapping_div(y)) })),
    ("mod", |a| two(a, |x, y| if y == 0 { Err(zero()) } else { Ok(x.wrapping_rem(y)) })),
    ("mul", |a| {
        least(a, 1)?;
        Ok(int64(a.iter().fold(1, |product: i64, value| product.wrapping_mul(to_int64(value)))))
    }),
    ("add1f", |a| exact(a).map(|[value]| Value::Float(decimal(&[value.clone(), Value::Int(1)], '+')))),
    ("addf", |a| Ok(Value::Float(decimal(&[&[Value::Int(0)], a].concat(), '+')))),
    ("subf", |a| floats(a, '-')),
    ("divf", |a| floats(a, '/')),
    ("mulf", |a| floats(a, '*')),
    ("max", |a| extreme(a, |x, y| y > x)),
    ("biggest", |a| extreme(a, |x, y| y > x)),
    ("min", |a| extreme(a, |x, y| y < x)),
    ("maxf", |a| extreme_float(a, f64::max)),
    ("minf", |a| extreme_float(a, f64::min)),
    ("ceil", |a| exact(a).map(|[value]| Value::Float(to_float(value).ceil()))),
    ("floor", |a| exact(a).map(|[value]| Value::Float(to_float(value).floor()))),
    ("round", round),
];

fn zero() -> Failure {
    Failure::new("integer divide by zero")
}

fn two(arguments: &[Value], compute: impl Fn(i64, i64) -> Result<i64, Failure>) -> Result<Value, Failure> {
    let [x, y] = exact(arguments)?;
    compute(to_int64(x), to_int64(y)).map(int64)
}

fn extreme(arguments: &[Value], better: fn(i64, i64) -> bool) -> Result<Value, Failure> {
    least(arguments, 1)?;
    let numbers = arguments.iter().map(to_int64);
    Ok(int64(numbers.reduce(|best, next| if better(best, next) { next } else { best }).unwrap_or(0)))
}

fn extreme_float(arguments: &[Value], pick: fn(f64, f64) -> f64) -> Result<Value, Failure> {
    least(arguments, 1)?;
    Ok(Value::Float(arguments.iter().map(to_float).reduce(pick).unwrap_or(0.0)))
}

fn floats(arguments: &[Value], operator: char) -> Result<Value, Failure> {
    least(arguments, 2)?;
    if operator == '/' && arguments.iter().skip(1).any(|value| to_float(value) == 0.0) {
        return Err(Failure::new("decimal division by 0"));
    }
    Ok(Value::Float(decimal(arguments, operator)))
}

/// A decimal: digits, and how many of them are behind the point.
#[derive(Clone, Copy)]
struct Decimal {
    digits: i128,
    scale: u32,
}

/// Places of a quotient.
const PLACES: u32 = 16;

impl Decimal {
    fn of(number: f64) -> Option<Decimal> {
        let text = kiln_gotmpl::fmt::float(number, 'f');
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Decimal { digits, scale: u32::try_from(fraction.len()).ok()? })
    }

    fn at(self, scale: u32) -> Option<i128> {
        self.digits.checked_mul(10_i128.checked_pow(scale.checked_sub(self.scale)?)?)
    }

    fn apply(self, other: Decimal, operator: char) -> Option<Decimal> {
        let scale = self.scale.max(other.scale);
        let sum = |digits: Option<i128>| Some(Decimal { digits: digits?, scale });
        match operator {
            '+' => sum(self.at(scale)?.checked_add(other.at(scale)?)),
            '-' => sum(self.at(scale)?.checked_sub(other.at(scale)?)),
            '*' => Some(Decimal { digits: self.digits.checked_mul(other.digits)?, scale: self.scale + other.scale }),
            _ => {
                let (x, y) = (self.at(scale)?.checked_mul(10_i128.checked_pow(PLACES)?)?, other.at(scale)?);
                let (quotient, rest) = (x.checked_div(y)?, x.checked_rem(y)?);
                let up = i128::from(rest.unsigned_abs().saturating_mul(2) >= y.unsigned_abs());
                let sign = if (x < 0) == (y < 0) { 1 } else { -1 };
                Some(Decimal { digits: quotient + up * sign, scale: PLACES })
            }
        }
    }

    fn float(self) -> f64 {
        format!("{}e-{}", self.digits, self.scale).parse().unwrap_or(0.0)
    }
}

/// One operator between all numbers; beyond what decimals hold here, floats must do.
fn decimal(arguments: &[Value], operator: char) -> f64 {
    let numbers: Vec<f64> = arguments.iter().map(to_float).collect();
    let exact = || {
        let mut decimals = numbers.iter().map(|&number| Decimal::of(number));
        let first = decimals.next()??;
        decimals.try_fold(first, |a, b| a.apply(b?, operator))
    };
    if let Some(result) = exact() {
        return result.float();
    }
    let operate = |a: f64, b: f64| match operator {
        '+' => a + b,
        '-' => a - b,
        '*' => a * b,
        _ => a / b,
    };
    numbers.into_iter().reduce(operate).unwrap_or(0.0)
}

/// `round number places [what counts as half]`.
fn round(arguments: &[Value]) -> Result<Value, Failure> {
    least(arguments, 2)?;
    let number = arguments.first().map_or(0.0, to_float);
    let places = int(arguments.get(1).unwrap_or(&Value::Nil))?;
    let half = arguments.get(2).map_or(0.5, to_float);
    let power = 10_f64.powi(i32::try_from(places).unwrap_or(0));
    let digit = power * number;
    let fraction = digit.fract();
    let rounded = if fraction >= half { digit.ceil() } else { digit.floor() };
    Ok(Value::Float(rounded / power))
}

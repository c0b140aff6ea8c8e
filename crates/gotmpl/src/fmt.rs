//! Go's formats of values, for functions that make texts of them.

use crate::error::Failure;
use crate::print::{self, Bounded};
use crate::value::Value;

/// `fmt.Sprint` of one value: `%v`.
///
/// # Errors
/// When the text grows beyond a limit, as that of a map that holds itself does.
pub fn sprint(value: &Value) -> Result<String, Failure> {
    if let Value::String(text) = value {
        return Ok(text.as_ref().to_owned());
    }
    let mut out = Bounded::new();
    print::value(&mut out, value);
    out.finish()
}

/// `fmt.Sprintf`.
///
/// # Errors
/// When the text grows beyond a limit.
pub fn sprintf(format: &str, arguments: &[Value]) -> Result<String, Failure> {
    crate::printf::printf(format, arguments)
}

/// `strconv.Quote`.
pub fn quote(text: &str) -> String {
    print::quote(text, '"', false)
}

/// `strconv.FormatFloat` with as many digits as tell it from other numbers: `format` is `e`, `f` or `g`.
pub fn float(number: f64, format: char) -> String {
    print::float(number, format, None)
}

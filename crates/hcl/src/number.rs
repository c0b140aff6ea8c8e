//! Numbers: decimals of any size up to a limit, so that integers and fractions such as 0.1 are exact.
//!
//! HCL calculates with binary floats of 512 bits; 154 decimal digits are what those hold. Only a quotient can be inexact
//! here, and it is rounded to that many digits.

use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, Sign};

/// How many digits a quotient, or a number too long, is rounded to.
const DIGITS: u64 = 154;
/// The largest power of ten either way.
const MAX_EXPONENT: i64 = 4096;

/// A number: `mantissa` × 10^`exponent`, with no zeros at the mantissa's end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Number {
    mantissa: BigInt,
    exponent: i64,
}

fn ten_to(power: u64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(power).unwrap_or(u32::MAX))
}

fn digits(value: &BigInt) -> u64 {
    if value.sign() == Sign::NoSign {
        return 1;
    }
    // The estimate by bits is right or one too small.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
    let estimate = ((value.bits() - 1) as f64 * std::f64::consts::LOG10_2) as u64 + 1;
    if value.magnitude() >= ten_to(estimate).magnitude() { estimate + 1 } else { estimate }
}

/// `value` / `by`, rounded half away from zero.
fn divide_rounded(value: &BigInt, by: &BigInt) -> BigInt {
    let twice: BigInt = value * 2;
    let half = if (value.sign() == Sign::Minus) == (by.sign() == Sign::Minus) { by.clone() } else { -by.clone() };
    (twice + half) / (by * 2)
}

impl Number {
    /// `mantissa` × 10^`exponent`; none when it is beyond the limits.
    fn new(mantissa: BigInt, exponent: i64) -> Option<Number> {
        Number::rounded(mantissa, exponent, DIGITS)
    }

    /// The same with so many digits at most, or one more.
    fn rounded(mut mantissa: BigInt, mut exponent: i64, most: u64) -> Option<Number> {
        if mantissa.sign() == Sign::NoSign {
            return Some(Number { mantissa, exponent: 0 });
        }
        let count = digits(&mantissa);
        if count > most + 1 {
            let drop = count - most;
            // What is exact in binary stays exact: integers below 2^512 have up to 155 digits.
            mantissa = divide_rounded(&mantissa, &ten_to(drop));
            exponent = exponent.checked_add(i64::try_from(drop).ok()?)?;
        }
        let ten = BigInt::from(10);
        while (&mantissa % &ten).sign() == Sign::NoSign {
            mantissa /= &ten;
            exponent = exponent.checked_add(1)?;
        }
        if exponent < -MAX_EXPONENT {
            return Some(Number { mantissa: BigInt::from(0), exponent: 0 });
        }
        (exponent <= MAX_EXPONENT).then_some(Number { mantissa, exponent })
    }

    /// Reads `12`, `-1.5`, `1e3`: what HCL and JSON write. None when it is no number or beyond the limits.
    pub fn parse(text: &str) -> Option<Number> {
        if text.len() > 4096 {
            return None;
        }
        let (plain, power) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
        let unsigned = whole.strip_prefix(['-', '+']).unwrap_or(whole);
        let only_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let empty = (unsigned.is_empty() && fraction.is_empty()) || (plain.contains('.') && fraction.is_empty());
        if empty || !only_digits(unsigned) || !only_digits(fraction) || power.abs() > MAX_EXPONENT * 2 {
            return None;
        }
        let mantissa: BigInt = format!("{whole}{fraction}").parse().ok()?;
        Number::new(mantissa, power - i64::try_from(fraction.len()).ok()?)
    }

    /// The number closest to `value` by its shortest decimal form; none for what is not finite.
    pub fn from_f64(value: f64) -> Option<Number> {
        if value.is_finite() { Number::parse(&format!("{value:e}")) } else { None }
    }

    /// The nearest float.
    pub fn to_f64(&self) -> f64 {
        format!("{}e{}", self.mantissa, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// As a whole number, if it is one.
    pub fn to_integer(&self) -> Option<BigInt> {
        let power = u64::try_from(self.exponent).ok()?;
        Some(&self.mantissa * ten_to(power))
    }

    /// As an index or count; none when negative, fractional or too large.
    pub fn to_usize(&self) -> Option<usize> {
        if self.exponent > 20 { None } else { usize::try_from(self.to_integer()?).ok() }
    }

    /// As an `i64`, if it is one.
    pub fn to_i64(&self) -> Option<i64> {
        if self.exponent > 20 { None } else { i64::try_from(self.to_integer()?).ok() }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.mantissa.sign() == Sign::NoSign
    }

    /// Whether it is less than zero.
    pub fn is_negative(&self) -> bool {
        self.mantissa.sign() == Sign::Minus
    }

    /// Both mantissas for the smaller of the exponents.
    fn aligned(&self, other: &Number) -> (BigInt, BigInt, i64) {
        let low = self.exponent.min(other.exponent);
        let raise = |number: &Number| &number.mantissa * ten_to(u64::try_from(number.exponent - low).unwrap_or(0));
        (raise(self), raise(other), low)
    }

    /// The sum.
    pub fn add(&self, other: &Number) -> Option<Number> {
        let (a, b, exponent) = self.aligned(other);
        Number::new(a + b, exponent)
    }

    /// The difference.
    pub fn sub(&self, other: &Number) -> Option<Number> {
        self.add(&other.neg())
    }

    /// The product.
    pub fn mul(&self, other: &Number) -> Option<Number> {
        Number::new(&self.mantissa * &other.mantissa, self.exponent.checked_add(other.exponent)?)
    }

    /// The quotient; none when `other` is zero.
    pub fn div(&self, other: &Number) -> Option<Number> {
        if other.is_zero() {
            return None;
        }
        // A few digits more, so that a third times three is one.
        let most = DIGITS + 6;
        let more = most + digits(&other.mantissa);
        let mantissa = divide_rounded(&(&self.mantissa * ten_to(more)), &other.mantissa);
        let surplus = digits(&mantissa).saturating_sub(most);
        let mantissa = divide_rounded(&mantissa, &ten_to(surplus));
        let power = i64::try_from(surplus).ok()? - i64::try_from(more).ok()?;
        Number::rounded(mantissa, self.exponent.checked_sub(other.exponent)?.checked_add(power)?, most)
    }

    /// The remainder, with the sign of `self`; none when `other` is zero.
    pub fn rem(&self, other: &Number) -> Option<Number> {
        if other.is_zero() {
            return None;
        }
        let (a, b, exponent) = self.aligned(other);
        Number::new(a % b, exponent)
    }

    /// The number with the other sign.
    #[must_use]
    pub fn neg(&self) -> Number {
        Number { mantissa: -self.mantissa.clone(), exponent: self.exponent }
    }

    /// The number without its sign.
    #[must_use]
    pub fn abs(&self) -> Number {
        if self.is_negative() { self.neg() } else { self.clone() }
    }

    /// The next whole number in the direction of zero.
    #[must_use]
    pub fn truncated(&self) -> Number {
        match u64::try_from(-self.exponent) {
            Ok(places) if places > 0 => {
                Number::new(&self.mantissa / ten_to(places), 0).unwrap_or_else(|| Number::from(0_i64))
            }
            _ => self.clone(),
        }
    }

    /// The next whole number not above it.
    #[must_use]
    pub fn floor(&self) -> Number {
        let whole = self.truncated();
        if self.is_negative() && whole != *self { whole.sub(&Number::from(1_i64)).unwrap_or(whole) } else { whole }
    }

    /// The next whole number not below it.
    #[must_use]
    pub fn ceil(&self) -> Number {
        self.neg().floor().neg()
    }

    /// Whether it has no fraction.
    pub fn is_whole(&self) -> bool {
        self.exponent >= 0
    }

    /// As Packer's console prints it: whole numbers of 64 bits with all digits, others as Go prints a float.
    pub fn to_go(&self) -> String {
        self.to_i64().map_or_else(|| go_float(self.to_f64()), |whole| whole.to_string())
    }
}

/// A float as Go's `%v`: the shortest digits, with an exponent from 1e6 on and below 1e-4.
pub fn go_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        Number::from(BigInt::from(value))
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Number {
        Number::from(BigInt::from(value))
    }
}

impl From<BigInt> for Number {
    /// A whole number; one beyond the limits of numbers becomes zero, which callers rule out by the size of their input.
    fn from(value: BigInt) -> Number {
        Number::new(value, 0).unwrap_or(Number { mantissa: BigInt::from(0), exponent: 0 })
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let (a, b, _) = self.aligned(other);
        a.cmp(&b)
    }
}

impl fmt::Display for Number {
    /// All digits, without an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(power) = usize::try_from(self.exponent) {
            return write!(f, "{}{}", self.mantissa, "0".repeat(power));
        }
        let places = usize::try_from(-self.exponent).unwrap_or(0);
        let text = self.mantissa.magnitude().to_string();
        let padded = format!("{}{text}", "0".repeat((places + 1).saturating_sub(text.len())));
        let (whole, fraction) = padded.split_at(padded.len() - places);
        write!(f, "{}{whole}.{fraction}", if self.is_negative() { "-" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::Number;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn is_exact() {
        assert_eq!(number("0.1").add(&number("0.2")).unwrap(), number("0.3"));
        assert_eq!(number("12345678901234567890123").to_string(), "12345678901234567890123");
        assert_eq!(number("10").div(&number("4")).unwrap().to_string(), "2.5");
        assert_eq!(number("1").div(&number("3")).unwrap().to_string(), format!("0.{}", "3".repeat(160)));
        assert_eq!(number("-7").rem(&number("3")).unwrap().to_string(), "-1");
        assert_eq!(number("1e3").to_string(), "1000");
        assert_eq!(number("-0.05").to_string(), "-0.05");
        assert_eq!(number("-1.5").floor().to_string(), "-2");
        assert_eq!(number("-1.5").ceil().to_string(), "-1");
        assert_eq!(number("1e100").to_go(), "1e+100");
        assert_eq!(number("1000000").to_go(), "1000000");
        assert_eq!(number("1234567.5").to_go(), "1.2345675e+06");
        assert_eq!(number("0.00001").to_go(), "1e-05");
    }

    #[test]
    fn has_limits() {
        for bad in ["", ".", "1.", "e3", "1e99999999", "--1", "1_000", "1e", "0x10"] {
            assert_eq!(Number::parse(bad), None, "{bad}");
        }
        assert!(number("1e4096").mul(&number("1e4096")).is_none());
        assert!(number("1").div(&number("0")).is_none());
        assert!(Number::from_f64(f64::NAN).is_none());
    }
}

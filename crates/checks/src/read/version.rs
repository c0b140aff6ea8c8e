//! How versions order: as dpkg orders them, and as rpm does.

use std::cmp::Ordering;

/// The order of two versions of Debian packages: `[epoch:]upstream[-revision]`.
pub fn debian(a: &str, b: &str) -> Ordering {
    let split = |version: &str| {
        let (epoch, rest) = version.split_once(':').map_or((0, version), |(e, r)| (e.parse().unwrap_or(0_u64), r));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream.to_owned(), revision.to_owned())
    };
    let ((ea, ua, ra), (eb, ub, rb)) = (split(a), split(b));
    ea.cmp(&eb).then_with(|| part(&ua, &ub)).then_with(|| part(&ra, &rb))
}

/// A part of a Debian version: texts and numbers in turn; `~` is before everything, even the end.
fn part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) = (leading(&mut a, |c| !c.is_ascii_digit()), leading(&mut b, |c| !c.is_ascii_digit()));
        for at in 0..text_a.len().max(text_b.len()) {
            let order = weight(text_a.get(at)).cmp(&weight(text_b.get(at)));
            if order.is_ne() {
                return order;
            }
        }
        let order = number(leading(&mut a, u8::is_ascii_digit), leading(&mut b, u8::is_ascii_digit));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn weight(c: Option<&u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

/// The order of two versions of RPM packages: `[epoch:]version[-release]`. A release is compared only if both have one.
pub fn rpm(a: &str, b: &str) -> Ordering {
    let split = |version: &str| {
        let (epoch, rest) = version.split_once(':').map_or((0, version), |(e, r)| (e.parse().unwrap_or(0_u64), r));
        let (version, release) = rest.rsplit_once('-').map_or((rest, None), |(v, r)| (v, Some(r.to_owned())));
        (epoch, version.to_owned(), release)
    };
    let ((ea, va, ra), (eb, vb, rb)) = (split(a), split(b));
    ea.cmp(&eb).then_with(|| segments(&va, &vb)).then_with(|| match (ra, rb) {
        (Some(a), Some(b)) => segments(&a, &b),
        _ => Ordering::Equal,
    })
}

/// A part of an RPM version: numbers beat texts, `~` is before the end, `^` after it.
fn segments(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let odd = |c: &u8| !c.is_ascii_alphanumeric() && *c != b'~' && *c != b'^';
        leading(&mut a, odd);
        leading(&mut b, odd);
        match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some(b'~'), _) | (None, Some(b'^')) => return Ordering::Less,
            (_, Some(b'~')) | (Some(b'^'), None) => return Ordering::Greater,
            (Some(b'^'), _) => return Ordering::Less,
            (_, Some(b'^')) => return Ordering::Greater,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() != y.is_ascii_digit() => {
                return x.is_ascii_digit().cmp(&y.is_ascii_digit());
            }
            (Some(x), Some(_)) => {
                let order = match x.is_ascii_digit() {
                    true => number(leading(&mut a, u8::is_ascii_digit), leading(&mut b, u8::is_ascii_digit)),
                    false => leading(&mut a, u8::is_ascii_alphabetic).cmp(leading(&mut b, u8::is_ascii_alphabetic)),
                };
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}

/// Takes the bytes at the beginning for which `is` holds.
fn leading<'a>(from: &mut &'a [u8], is: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = from.iter().position(|c| !is(c)).unwrap_or(from.len());
    let (taken, rest) = from.split_at(end);
    *from = rest;
    taken
}

/// The order of two numbers of any length.
fn number(a: &[u8], b: &[u8]) -> Ordering {
    let plain = |digits: &[u8]| digits.iter().position(|c| *c != b'0').map_or(Vec::new(), |at| digits[at..].to_vec());
    let (a, b) = (plain(a), plain(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_as_their_tools_say() {
        for (a, b) in [
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0a"),
            ("1.9", "1.10"),
            ("9", "1:0"),
            ("1.0-1", "1.0-1.1"),
            ("1.0-1~bpo", "1.0-1"),
            ("1.0", "1.0+b1"),
            ("3.10.0", "5.4"),
            ("00099999999999999999999999998", "99999999999999999999999999999"),
        ] {
            assert_eq!((debian(a, b), debian(b, a)), (Ordering::Less, Ordering::Greater), "{a} {b}");
        }
        assert_eq!(debian("0:1.0", "1.0"), Ordering::Equal);
        for (a, b) in [
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0^git1"),
            ("1.0^git1", "1.0.1"),
            ("1.0.a", "1.0.1"),
            ("1.0-1.el7", "1.0-2.el7"),
            ("9-1", "1:1-1"),
            ("1.0", "1.0.1"),
        ] {
            assert_eq!((rpm(a, b), rpm(b, a)), (Ordering::Less, Ordering::Greater), "{a} {b}");
        }
        assert_eq!(rpm("1.0", "1.0-5.el9"), Ordering::Equal);
        assert_eq!(rpm("1_0", "1.0"), Ordering::Equal);
    }
}

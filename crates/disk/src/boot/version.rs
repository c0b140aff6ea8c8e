//! The order of kernel versions, as people mean it: numbers by value, `~` before everything.

use std::cmp::Ordering;

/// Which of two versions is newer.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let text = |v: &[u8]| v.iter().position(u8::is_ascii_digit).unwrap_or(v.len());
        let (x, y) = (text(a), text(b));
        let letters = rank(&a[..x]).cmp(&rank(&b[..y]));
        if letters != Ordering::Equal {
            return letters;
        }
        (a, b) = (&a[x..], &b[y..]);
        let digits = |v: &[u8]| v.iter().position(|c| !c.is_ascii_digit()).unwrap_or(v.len());
        let (x, y) = (digits(a), digits(b));
        let trim = |v: &[u8]| v.iter().skip_while(|c| **c == b'0').copied().collect::<Vec<u8>>();
        let (n, m) = (trim(&a[..x]), trim(&b[..y]));
        let numbers = n.len().cmp(&m.len()).then_with(|| n.cmp(&m));
        if numbers != Ordering::Equal {
            return numbers;
        }
        if x == a.len() && y == b.len() {
            return Ordering::Equal;
        }
        (a, b) = (&a[x..], &b[y..]);
    }
}

/// `~` sorts before the end, the end before letters, letters before signs.
fn rank(text: &[u8]) -> Vec<u16> {
    let one = |c: &u8| match c {
        b'~' => 0,
        c if c.is_ascii_alphabetic() => u16::from(*c),
        c => u16::from(*c) + 256,
    };
    text.iter().map(one).chain([1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_is_greater() {
        for (old, new) in [
            ("6.1.0-9-amd64", "6.1.0-44-amd64"),
            ("5.15.0", "6.1.0"),
            ("6.1.0~rc1", "6.1.0"),
            ("6.1", "6.1.1"),
            ("4.18.0-348.el8.x86_64", "4.18.0-1160.el8.x86_64"),
            ("6.06", "6.10"),
        ] {
            assert_eq!(compare(old, new), Ordering::Less, "{old} {new}");
            assert_eq!(compare(new, old), Ordering::Greater, "{new} {old}");
        }
        assert_eq!(compare("6.1", "6.01"), Ordering::Equal);
        assert_eq!(compare("", ""), Ordering::Equal);
    }
}

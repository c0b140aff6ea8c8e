//! `--chmod`: `755`, `u=rwX,go=rX`, `+x`.
//!
//! Symbolic modes follow setmode(3) of the BSDs with a umask of 0, as BuildKit does (checked against it), so `+x` means
//! `a+x`. `X` looks at the mode the file has before the first clause. What differs from chmod(1) of GNU:
//!
//! ```text
//! =          takes the set-id bits of the classes, also from directories, but the sticky bit only where `t` is named
//! t          belongs to u and g
//! u=g        copies rwx, and leaves set-id bits as they are
//! ```

/// A change of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod(Change);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// These twelve bits, whatever was there.
    Exactly(u32),
    /// Clauses, applied in order.
    Clauses(Vec<Clause>),
}

/// `go+rX`: one operation on some classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clause {
    /// `u`, `g`, `o`.
    who: [bool; 3],
    op: Op,
    /// `rwx` bits, 0 to 7.
    bits: u32,
    /// `X`
    conditional_x: bool,
    /// `s`
    set_id: bool,
    /// `t`
    sticky: bool,
    /// `u`, `g` or `o` on the right: copy that class's bits.
    copy_from: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Set,
}

/// Why a mode cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChmodError {
    /// An octal mode with more than the twelve permission bits.
    #[error("the mode `{0}` has more bits than 7777")]
    TooManyBits(String),
    /// Neither octal nor symbolic.
    #[error("`{0}` is not a mode: write `755` or `u=rwX,go=rX`")]
    Malformed(String),
}

/// Where each class's bits are: u, g, o.
const SHIFTS: [u32; 3] = [6, 3, 0];
/// The set-id bit of each class; others have the sticky bit, which `s` does not mean.
const SET_ID: [u32; 3] = [0o4000, 0o2000, 0];
const STICKY: u32 = 0o1000;

impl Chmod {
    /// Reads an octal or symbolic mode.
    ///
    /// # Errors
    /// When it is neither, or has more bits than a mode has.
    pub fn parse(text: &str) -> Result<Chmod, ChmodError> {
        let malformed = || ChmodError::Malformed(text.to_owned());
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            if text.bytes().any(|b| b > b'7') {
                return Err(malformed());
            }
            return match u32::from_str_radix(text, 8) {
                Ok(bits) if bits <= 0o7777 => Ok(Chmod(Change::Exactly(bits))),
                _ => Err(ChmodError::TooManyBits(text.to_owned())),
            };
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            parse_clauses(part, &mut clauses).ok_or_else(malformed)?;
        }
        Ok(Chmod(Change::Clauses(clauses)))
    }

    /// The mode a file with `mode` gets. Bits above the twelve permission bits are neither read nor kept.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let before = mode & 0o7777;
        match &self.0 {
            Change::Exactly(bits) => *bits,
            Change::Clauses(clauses) => {
                let executable = is_dir || before & 0o111 != 0;
                clauses.iter().fold(before, |mode, clause| clause.apply(mode, executable))
            }
        }
    }

    /// The mode it gives everything, when it does not depend on what a file had.
    pub fn absolute(&self) -> Option<u32> {
        match self.0 {
            Change::Exactly(bits) => Some(bits),
            Change::Clauses(_) => None,
        }
    }
}

impl Clause {
    fn apply(self, mode: u32, executable: bool) -> u32 {
        let mut bits = self.bits;
        if self.conditional_x && executable {
            bits |= 1;
        }
        if let Some(class) = self.copy_from {
            bits = (mode >> SHIFTS[class]) & 7;
        }
        let (mut set, mut class_mask) = (0, 0);
        for (class, _) in self.who.iter().enumerate().filter(|(_, named)| **named) {
            set |= bits << SHIFTS[class];
            class_mask |= 7 << SHIFTS[class];
            if self.copy_from.is_none() {
                class_mask |= SET_ID[class];
            }
            if self.set_id {
                set |= SET_ID[class];
            }
        }
        if self.sticky && (self.who[0] || self.who[1]) {
            class_mask |= STICKY;
            set |= STICKY;
        }
        match self.op {
            Op::Add => mode | set,
            Op::Remove => mode & !set,
            Op::Set => mode & !class_mask | set,
        }
    }
}

/// `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`
fn parse_clauses(part: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let mut chars = part.chars().peekable();
    let mut who = [false; 3];
    while let Some(named) = chars.peek().and_then(|c| "ugoa".find(*c)) {
        chars.next();
        if named == 3 {
            who = [true; 3];
        } else {
            who[named] = true;
        }
    }
    if who == [false; 3] {
        who = [true; 3];
    }
    let mut some = false;
    while let Some(c) = chars.next() {
        let op = match c {
            '+' => Op::Add,
            '-' => Op::Remove,
            '=' => Op::Set,
            _ => return None,
        };
        let mut clause =
            Clause { who, op, bits: 0, conditional_x: false, set_id: false, sticky: false, copy_from: None };
        if let Some(class) = chars.peek().and_then(|c| "ugo".find(*c)) {
            chars.next();
            clause.copy_from = Some(class);
        } else {
            while let Some(&c) = chars.peek() {
                match c {
                    'r' => clause.bits |= 4,
                    'w' => clause.bits |= 2,
                    'x' => clause.bits |= 1,
                    'X' => clause.conditional_x = true,
                    's' => clause.set_id = true,
                    't' => clause.sticky = true,
                    _ => break,
                }
                chars.next();
            }
        }
        clauses.push(clause);
        some = true;
    }
    some.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: &str, before: u32) -> u32 {
        Chmod::parse(mode).unwrap().apply(before, false)
    }

    #[test]
    fn octal() {
        assert_eq!(file("755", 0o600), 0o755);
        assert_eq!(file("0644", 0o4755), 0o644);
        assert_eq!(file("4755", 0), 0o4755);
        assert_eq!(file("0", 0o777), 0);
        assert_eq!(Chmod::parse("755").unwrap().absolute(), Some(0o755));
        assert_eq!(Chmod::parse("17777"), Err(ChmodError::TooManyBits("17777".into())));
        assert!(matches!(Chmod::parse("777777777777777777777"), Err(ChmodError::TooManyBits(_))));
    }

    #[test]
    fn symbolic() {
        assert_eq!(file("u=rwX,go=rX", 0o600), 0o644);
        assert_eq!(file("u=rwX,go=rX", 0o711), 0o755);
        assert_eq!(Chmod::parse("u=rwX,go=rX").unwrap().apply(0o700, true), 0o755);
        assert_eq!(file("+x", 0o644), 0o755);
        assert_eq!(file("a-w", 0o777), 0o555);
        assert_eq!(file("g=u", 0o640), 0o660);
        assert_eq!(file("u+s,g+s", 0o755), 0o6755);
        assert_eq!(file("+t", 0o755), 0o1755);
        assert_eq!(file("u=rw", 0o4755), 0o655);
        assert_eq!(file("go=", 0o777), 0o700);
        assert_eq!(file("u+r-w", 0o200), 0o400);
        assert_eq!(file("a=rX", 0o7777), 0o1555);
        assert_eq!(file("=", 0o7777), 0o1000);
        assert_eq!(file("a=s", 0o7777), 0o7000);
        assert_eq!((file("u+t", 0o600), file("o+t", 0o600), file("ug-t", 0o1600)), (0o1600, 0o600, 0o600));
        assert_eq!((file("u=t", 0o4755), file("go=t", 0o2644)), (0o1055, 0o1600));
        assert_eq!((file("u=g", 0o4755), file("a=u", 0o2644), file("g=o", 0o7777)), (0o4555, 0o2666, 0o7777));
        assert_eq!(file("u=rw-x+t", 0o4755), 0o1655);
        // `X` looks at the mode before the first clause.
        assert_eq!(file("u+x,g+X", 0o644), 0o744);
    }

    #[test]
    fn refuses_what_is_no_mode() {
        for text in ["", "abc", "u", "rwx", "u=rwz", "888", "-1", "755,", "0x1", "u=rg"] {
            assert!(matches!(Chmod::parse(text), Err(ChmodError::Malformed(_))), "{text}");
        }
    }
}

//! Names: labels with their lengths, an empty one at the end, as RFC 1035 has them on the wire.
//!
//! A [`Key`] is the same name turned around and in small letters: `www.example.org` becomes `org example www`. A name is
//! below another exactly when its key begins with the other's, and all names below one are next to each other.

use core::fmt;

/// The longest name, with its lengths and its end.
pub const MAX: usize = 255;
/// The longest label.
pub const MAX_LABEL: usize = 63;

/// A name on the wire, uncompressed.
#[derive(Clone, Copy)]
pub struct Name {
    bytes: [u8; MAX],
    length: u8,
}

/// A name that finds records: from the root downwards, in small letters.
#[derive(Clone, Copy)]
pub struct Key {
    bytes: [u8; MAX],
    length: u8,
}

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// Two dots, or one at the beginning.
    EmptyLabel,
    /// More than 63 bytes between two dots.
    LongLabel,
    /// More than 255 bytes on the wire.
    Long,
    /// `\` at the end, or three digits above 255.
    Escape,
    /// It does not end in a dot, and there is nothing to put behind it.
    NoOrigin,
    /// A byte that no name in a zone file has without `\`.
    Character,
}

impl BadName {
    /// In words.
    pub fn why(self) -> &'static str {
        match self {
            BadName::EmptyLabel => "an empty label: two dots, or one at the beginning",
            BadName::LongLabel => "a label is longer than 63 bytes",
            BadName::Long => "the name is longer than 255 bytes",
            BadName::Escape => "after `\\` comes a character, or three digits up to 255",
            BadName::NoOrigin => "the name does not end in a dot, and no $ORIGIN says what comes behind it",
            BadName::Character => "a character that names do not have: write names of other scripts as xn--…",
        }
    }
}

impl Name {
    /// The root.
    pub const ROOT: Name = Name { bytes: [0; MAX], length: 1 };

    /// As it is on the wire.
    pub fn wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The name at the beginning of some bytes; none when it is compressed, too long, or not all there.
    pub fn read(bytes: &[u8]) -> Option<Name> {
        let mut end = 0;
        loop {
            let length = usize::from(*bytes.get(end)?);
            if length > MAX_LABEL {
                return None;
            }
            end += 1 + length;
            if length == 0 {
                break;
            }
        }
        let mut name = Name::ROOT;
        name.bytes.get_mut(..end)?.copy_from_slice(bytes.get(..end)?);
        name.length = u8::try_from(end).ok()?;
        Some(name)
    }

    /// A name of a zone file: `@`, one that ends in a dot, or one that `origin` comes behind.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &[u8], origin: Option<&Name>) -> Result<Name, BadName> {
        if text == b"@" {
            return origin.copied().ok_or(BadName::NoOrigin);
        }
        if text == b"." {
            return Ok(Name::ROOT);
        }
        if text.is_empty() {
            return Err(BadName::EmptyLabel);
        }
        let mut builder = Builder { name: Name::ROOT, label: 0, end: 1 };
        let mut rest = text;
        while let Some((byte, behind)) = character(rest)? {
            rest = behind;
            match byte {
                Character::Dot => builder.close()?,
                Character::Byte(byte) => builder.push(byte)?,
            }
        }
        if builder.end > builder.label + 1 {
            // It did not end in a dot.
            builder.close()?;
            let origin = origin.ok_or(BadName::NoOrigin)?;
            return builder.append(origin);
        }
        builder.finish()
    }

    /// Its labels, the root's not among them.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: self.wire() }
    }

    /// What finds it.
    pub fn key(&self) -> Key {
        let mut key = Key { bytes: [0; MAX], length: self.length - 1 };
        let mut end = usize::from(key.length);
        for label in self.labels() {
            let start = end - label.len() - 1;
            key.bytes[start] = label.len() as u8;
            key.bytes[start + 1..end].copy_from_slice(label);
            key.bytes[start + 1..end].make_ascii_lowercase();
            end = start;
        }
        key
    }
}

impl PartialEq for Name {
    /// Names are the same in large and small letters.
    fn eq(&self, other: &Name) -> bool {
        // Lengths of labels are below the letters, so this changes none of them.
        self.wire().eq_ignore_ascii_case(other.wire())
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 1 {
            return f.write_str(".");
        }
        for label in self.labels() {
            for byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", char::from(*byte))?,
                    b'!'..=b'~' => write!(f, "{}", char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl Key {
    /// Its bytes: labels with their lengths in front.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Whether the name is the other one, or below it.
    pub fn within(&self, other: &[u8]) -> bool {
        self.bytes().starts_with(other)
    }

    /// How long the key of its ancestor is that has one label more than that of `length` bytes.
    pub fn next(&self, length: usize) -> Option<usize> {
        let label = usize::from(*self.bytes().get(length)?);
        Some(length + 1 + label)
    }
}

/// The labels of a name.
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, behind) = self.rest.split_first()?;
        if *length == 0 {
            return None;
        }
        let (label, rest) = behind.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        Some(label)
    }
}

/// A name that is being written: `label` is where the length of the open label lies, `end` where its next byte will.
struct Builder {
    name: Name,
    label: usize,
    end: usize,
}

impl Builder {
    fn push(&mut self, byte: u8) -> Result<(), BadName> {
        if self.end - self.label > MAX_LABEL {
            return Err(BadName::LongLabel);
        }
        *self.name.bytes.get_mut(self.end).ok_or(BadName::Long)? = byte;
        self.end += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), BadName> {
        let length = self.end - self.label - 1;
        if length == 0 {
            return Err(BadName::EmptyLabel);
        }
        self.name.bytes[self.label] = length as u8;
        self.label = self.end;
        // Where the next length, or the name's end, will be.
        *self.name.bytes.get_mut(self.end).ok_or(BadName::Long)? = 0;
        self.end += 1;
        Ok(())
    }

    /// A name whose last label is closed.
    fn finish(mut self) -> Result<Name, BadName> {
        self.name.length = u8::try_from(self.label + 1).map_err(|_| BadName::Long)?;
        Ok(self.name)
    }

    fn append(mut self, origin: &Name) -> Result<Name, BadName> {
        let origin = origin.wire();
        let end = self.label + origin.len();
        self.name.bytes.get_mut(self.label..end).ok_or(BadName::Long)?.copy_from_slice(origin);
        self.name.length = u8::try_from(end).map_err(|_| BadName::Long)?;
        Ok(self.name)
    }
}

/// A character of a text with `\` in it.
pub(crate) enum Character {
    /// A dot without `\`.
    Dot,
    /// Any other.
    Byte(u8),
}

/// The first character of a text, and what is behind it.
pub(crate) fn character(text: &[u8]) -> Result<Option<(Character, &[u8])>, BadName> {
    Ok(match text {
        [] => None,
        [b'.', rest @ ..] => Some((Character::Dot, rest)),
        [b'\\', rest @ ..] => {
            let (byte, rest) = escape(rest).ok_or(BadName::Escape)?;
            Some((Character::Byte(byte), rest))
        }
        [byte @ b'!'..=b'~', rest @ ..] => Some((Character::Byte(*byte), rest)),
        _ => return Err(BadName::Character),
    })
}

/// What `\` means with what comes behind it.
pub(crate) fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
            let value = [a, b, c].iter().fold(0u16, |sum, digit| sum * 10 + u16::from(**digit - b'0'));
            Some((u8::try_from(value).ok()?, rest))
        }
        [b'0'..=b'9', ..] => None,
        [byte, rest @ ..] => Some((*byte, rest)),
        [] => None,
    }
}

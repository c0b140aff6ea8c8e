//! What stands behind the type of a record, as it is on the wire, uncompressed.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::lexer::{Place, Token};
use super::{Wrong, ZoneError, types};
use crate::name::{self, Name};

/// The words of a record that have not been read.
pub(super) struct Words<'t, 'a> {
    pub(super) tokens: &'t [Token<'a>],
    /// Where something is missing when there are none.
    pub(super) end: Place,
    pub(super) origin: Option<&'t Name>,
}

impl<'t, 'a> Words<'t, 'a> {
    fn next(&mut self, what: &'static str) -> Result<&'t Token<'a>, ZoneError> {
        let (first, rest) = self.tokens.split_first().ok_or(self.end.error(Wrong::Missing(what)))?;
        self.tokens = rest;
        Ok(first)
    }

    fn name(&mut self, what: &'static str, out: &mut Vec<u8>) -> Result<(), ZoneError> {
        let token = self.next(what)?;
        let name = token.name(self.origin)?;
        out.extend_from_slice(name.wire());
        Ok(())
    }

    fn number(&mut self, what: &'static str, most: u32) -> Result<u32, ZoneError> {
        let token = self.next(what)?;
        number(token.text).filter(|value| *value <= most).ok_or(token.place.error(Wrong::Expected(what)))
    }

    fn short(&mut self, what: &'static str, out: &mut Vec<u8>) -> Result<(), ZoneError> {
        // It fits: the greatest value is given.
        let value = self.number(what, u32::from(u16::MAX))? as u16;
        out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn time(&mut self, what: &'static str, out: &mut Vec<u8>) -> Result<(), ZoneError> {
        let token = self.next(what)?;
        let seconds = seconds(token.text).ok_or(token.place.error(Wrong::Expected(what)))?;
        out.extend_from_slice(&seconds.to_be_bytes());
        Ok(())
    }

    fn parsed<T: core::str::FromStr>(&mut self, what: &'static str) -> Result<T, ZoneError> {
        let token = self.next(what)?;
        let parsed = core::str::from_utf8(token.text).ok().and_then(|text| text.parse().ok());
        parsed.ok_or(token.place.error(Wrong::Expected(what)))
    }
}

impl Token<'_> {
    pub(super) fn name(&self, origin: Option<&Name>) -> Result<Name, ZoneError> {
        Name::parse(self.text, origin).map_err(|bad| self.place.error(Wrong::Name(bad)))
    }
}

/// Reads the data of a record of some type, to the last word.
pub(super) fn read(kind: u16, generic: bool, words: &mut Words<'_, '_>) -> Result<Box<[u8]>, ZoneError> {
    let mut out = Vec::new();
    match kind {
        _ if generic => bytes(words, &mut out)?,
        types::A => out.extend_from_slice(&words.parsed::<Ipv4Addr>("an address, as 192.0.2.1")?.octets()),
        types::AAAA => out.extend_from_slice(&words.parsed::<Ipv6Addr>("an address, as 2001:db8::1")?.octets()),
        types::NS | types::CNAME | types::PTR => words.name("a name", &mut out)?,
        types::MX => {
            words.short("a preference from 0 to 65535", &mut out)?;
            words.name("the name of a mail server", &mut out)?;
        }
        types::SRV => {
            words.short("a priority from 0 to 65535", &mut out)?;
            words.short("a weight from 0 to 65535", &mut out)?;
            words.short("a port from 0 to 65535", &mut out)?;
            words.name("the name of a server", &mut out)?;
        }
        types::SOA => {
            words.name("the name of the first server", &mut out)?;
            words.name("the mailbox of who is responsible, as a name", &mut out)?;
            out.extend_from_slice(&words.number("a serial number", u32::MAX)?.to_be_bytes());
            for what in
                ["the time to refresh", "the time to retry", "the time to expire", "the time of a negative answer"]
            {
                words.time(what, &mut out)?;
            }
        }
        types::TXT => {
            strings(words, &mut out)?;
        }
        _ => return Err(words.end.error(Wrong::Missing("a type that can be read"))),
    }
    if let Some(more) = words.tokens.first() {
        return Err(more.place.error(Wrong::Extra));
    }
    Ok(out.into_boxed_slice())
}

fn strings(words: &mut Words<'_, '_>, out: &mut Vec<u8>) -> Result<(), ZoneError> {
    loop {
        let token = words.next("a text")?;
        let start = out.len();
        out.push(0);
        let mut rest = token.text;
        while let Some((first, behind)) = rest.split_first() {
            let escaped = if *first == b'\\' { name::escape(behind) } else { Some((*first, behind)) };
            let (byte, behind) = escaped.ok_or(token.place.error(Wrong::Name(name::BadName::Escape)))?;
            out.push(byte);
            rest = behind;
        }
        let length = u8::try_from(out.len() - start - 1);
        out[start] = length.map_err(|_| token.place.error(Wrong::Long("a text has at most 255 bytes; write two")))?;
        if words.tokens.is_empty() {
            return Ok(());
        }
    }
}

/// `\# 3 0a0b0c` (RFC 3597).
fn bytes(words: &mut Words<'_, '_>, out: &mut Vec<u8>) -> Result<(), ZoneError> {
    let mark = words.next("\\# LENGTH HEX")?;
    if mark.text != br"\#" || mark.quoted {
        return Err(mark.place.error(Wrong::Expected("\\# LENGTH HEX")));
    }
    let length = words.number("a length up to 65535", u32::from(u16::MAX))? as usize;
    let last = words.tokens.last().map_or(words.end, |token| token.place);
    let mut half: Option<u8> = None;
    while !words.tokens.is_empty() {
        let token = words.next("bytes")?;
        for digit in token.text {
            let value =
                char::from(*digit).to_digit(16).ok_or(token.place.error(Wrong::Expected("hexadecimal digits")))?;
            match half.take() {
                None => half = Some((value as u8) << 4),
                Some(high) => out.push(high | value as u8),
            }
        }
    }
    if out.len() != length || half.is_some() {
        return Err(last.error(Wrong::Expected("as many bytes as LENGTH says")));
    }
    Ok(())
}

/// A number of decimal digits.
pub(super) fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if digits { core::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// A time: seconds, or as `1h30m`. At most what 31 bits hold (RFC 2181).
pub(super) fn seconds(text: &[u8]) -> Option<u32> {
    const MOST: u32 = i32::MAX as u32;
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    let (mut sum, mut rest) = (0u32, text);
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (value, behind) = (number(&rest[..digits])?, &rest[digits..]);
        let (unit, behind) = match behind.split_first() {
            None if digits == text.len() => (1, behind),
            None => return None,
            Some((unit, behind)) => (unit_of(*unit)?, behind),
        };
        sum = value.checked_mul(unit).and_then(|value| sum.checked_add(value)).filter(|sum| *sum <= MOST)?;
        rest = behind;
    }
    Some(sum)
}

fn unit_of(letter: u8) -> Option<u32> {
    match letter.to_ascii_lowercase() {
        b's' => Some(1),
        b'm' => Some(60),
        b'h' => Some(3600),
        b'd' => Some(86400),
        b'w' => Some(604_800),
        _ => None,
    }
}

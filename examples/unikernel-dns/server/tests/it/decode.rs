//! Messages in words, read by other code than what wrote them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

const KINDS: [(&str, u16); 14] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("OPT", 41),
    ("DS", 43),
    ("AXFR", 252),
    ("ANY", 255),
    ("CAA", 257),
];

pub fn kind(name: &str) -> u16 {
    KINDS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1
}

/// A message; names in small letters.
#[derive(Debug, Clone)]
pub struct Message {
    pub flags: u16,
    pub question: Option<(String, u16)>,
    /// Answer, authority, additional.
    pub sections: [Vec<String>; 3],
    pub edns: Option<(u16, u32)>,
}

/// Why bytes are no message.
pub type Bad = &'static str;

struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl Message {
    pub fn read(all: &[u8]) -> Result<Message, Bad> {
        let mut reader = Reader { all, at: 2 };
        let flags = reader.short()?;
        let counts = [reader.short()?, reader.short()?, reader.short()?, reader.short()?];
        let mut message = Message { flags, question: None, sections: Default::default(), edns: None };
        for _ in 0..counts[0] {
            message.question = Some((reader.name()?, reader.short()?));
            assert_eq!(reader.short()?, 1, "class");
        }
        for (section, count) in message.sections.iter_mut().zip(&counts[1..]) {
            for _ in 0..*count {
                match reader.record()? {
                    Line::Record(line) => section.push(line),
                    Line::Edns(size, ttl) if message.edns.is_none() => message.edns = Some((size, ttl)),
                    Line::Edns(..) => return Err("two of OPT"),
                }
            }
        }
        if reader.at != all.len() { Err("bytes behind the message") } else { Ok(message) }
    }

    pub fn code(&self) -> u16 {
        (self.flags & 0xf) | self.edns.map_or(0, |(_, ttl)| (ttl >> 24 << 4) as u16)
    }

    pub fn truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }
}

enum Line {
    Record(String),
    Edns(u16, u32),
}

impl Reader<'_> {
    fn bytes(&mut self, count: usize) -> Result<&[u8], Bad> {
        let bytes = self.all.get(self.at..self.at + count).ok_or("it ends too early")?;
        self.at += count;
        Ok(bytes)
    }

    fn short(&mut self) -> Result<u16, Bad> {
        Ok(u16::from_be_bytes(self.bytes(2)?.try_into().unwrap()))
    }

    fn long(&mut self) -> Result<u32, Bad> {
        Ok(u32::from_be_bytes(self.bytes(4)?.try_into().unwrap()))
    }

    fn name(&mut self) -> Result<String, Bad> {
        let (mut at, mut end, mut out) = (self.at, None, String::new());
        for _ in 0..256 {
            let length = usize::from(*self.all.get(at).ok_or("a name ends too early")?);
            if length >= 0xc0 {
                let low = usize::from(*self.all.get(at + 1).ok_or("a name ends too early")?);
                end.get_or_insert(at + 2);
                let target = (length & 0x3f) << 8 | low;
                if target >= at {
                    return Err("a name leads forwards");
                }
                at = target;
                continue;
            }
            if length == 0 {
                self.at = end.unwrap_or(at + 1);
                return Ok(if out.is_empty() { ".".to_owned() } else { out.to_ascii_lowercase() });
            }
            let label = self.all.get(at + 1..at + 1 + length).ok_or("a name ends too early")?;
            out.push_str(&String::from_utf8_lossy(label).replace('.', "\\."));
            out.push('.');
            at += 1 + length;
        }
        Err("a name without an end")
    }

    fn record(&mut self) -> Result<Line, Bad> {
        let (name, kind, class, ttl) = (self.name()?, self.short()?, self.short()?, self.long()?);
        let length = usize::from(self.short()?);
        let end = self.at + length;
        if kind == 41 {
            self.bytes(length)?;
            return Ok(Line::Edns(class, ttl));
        }
        assert_eq!(class, 1, "class");
        let data = match kind {
            1 => Ipv4Addr::from(self.long()?).to_string(),
            28 => Ipv6Addr::from(<[u8; 16]>::try_from(self.bytes(16)?).unwrap()).to_string(),
            2 | 5 | 12 => self.name()?,
            15 => format!("{} {}", self.short()?, self.name()?),
            33 => format!("{} {} {} {}", self.short()?, self.short()?, self.short()?, self.name()?),
            6 => {
                let names = format!("{} {}", self.name()?, self.name()?);
                let mut numbers = || self.long();
                format!("{names} {} {} {} {} {}", numbers()?, numbers()?, numbers()?, numbers()?, numbers()?)
            }
            16 => {
                let mut texts = Vec::new();
                while self.at < end {
                    let length = self.bytes(1)?[0];
                    texts.push(format!("{:?}", self.bytes(usize::from(length))?.escape_ascii().to_string()));
                }
                texts.join(" ")
            }
            _ => self.bytes(length)?.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        if self.at != end {
            return Err("data of another length than it says");
        }
        let kind = KINDS.iter().find(|(_, value)| *value == kind).map_or("?", |(name, _)| name);
        Ok(Line::Record(format!("{name} {ttl} {kind} {data}")))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.code() {
            0 => "NOERROR".to_owned(),
            1 => "FORMERR".to_owned(),
            3 => "NXDOMAIN".to_owned(),
            4 => "NOTIMP".to_owned(),
            5 => "REFUSED".to_owned(),
            9 => "NOTAUTH".to_owned(),
            16 => "BADVERS".to_owned(),
            other => other.to_string(),
        };
        write!(f, "{code}")?;
        for (bit, flag) in [(0x0400, "aa"), (0x0200, "tc"), (0x0100, "rd"), (0x0080, "ra"), (0x0010, "cd")] {
            if self.flags & bit != 0 {
                write!(f, " {flag}")?;
            }
        }
        if let Some((size, ttl)) = self.edns {
            write!(f, " edns={size}{}", if ttl & 0x8000 != 0 { " do" } else { "" })?;
        }
        for (name, lines) in ["", "authority ", "additional "].iter().zip(&self.sections) {
            for line in lines {
                write!(f, "\n{name}{line}")?;
            }
        }
        Ok(())
    }
}

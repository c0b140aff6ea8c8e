//! The ELF file around a kernel: segments, names of sections, notes.
//!
//! Written here, and not taken from a library, because every refusal has to say what is wrong and where: that is what the
//! user of a broken file gets to see.

use crate::error::{Result, UnikernelError};
use crate::input::{Input, Words};
use crate::notes::{self, Note};

/// Kernels have a dozen segments.
const MAX_SEGMENTS: u64 = 256;
/// With one section for each function there are tens of thousands.
const MAX_SECTIONS: u64 = 65_000;
/// The names of sections.
const MAX_NAMES: u64 = 8 << 20;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_NOTE: u32 = 4;
const SECTION_NOTE: u32 = 7;
const SECTION_NOBITS: u32 = 8;

/// Executable, at a fixed place.
pub const TYPE_EXECUTABLE: u16 = 2;
/// Executable, at any place.
pub const TYPE_SHARED: u16 = 3;
/// 32-bit x86.
pub const MACHINE_386: u16 = 3;
/// x86-64.
pub const MACHINE_X86_64: u16 = 62;
/// 64-bit Arm.
pub const MACHINE_AARCH64: u16 = 183;

/// A part of the file that is put into memory, or is about the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What it is for.
    pub kind: u32,
    /// Where it is in the file.
    pub offset: u64,
    /// Where the program thinks it is.
    pub virtual_address: u64,
    /// Where it is put.
    pub address: u64,
    /// Bytes of the file.
    pub file_size: u64,
    /// Bytes of memory; what the file does not have is zero.
    pub memory_size: u64,
    /// What its places are multiples of.
    pub align: u64,
}

/// A section, as far as kernels are told by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Where it is in the file.
    pub offset: u64,
    /// How long it is.
    pub size: u64,
    kind: u32,
}

/// What an ELF file says.
#[derive(Debug, Clone)]
pub struct Elf {
    /// Whether it is a 64-bit file.
    pub wide: bool,
    /// For which processors.
    pub machine: u16,
    /// Where it is entered.
    pub entry: u64,
    /// Its segments.
    pub segments: Vec<Segment>,
    /// Its sections; none when they were stripped.
    pub sections: Vec<Section>,
    /// Its notes.
    pub notes: Vec<Note>,
}

impl Elf {
    /// Reads a file that begins as an ELF file does.
    ///
    /// # Errors
    /// When it is no executable, or what it says of itself cannot be true.
    pub fn read(input: &mut Input<'_>) -> Result<Elf> {
        let head = input.at("the header of an ELF file", 0, 52)?;
        let wide = match head[4] {
            1 => false,
            2 => true,
            other => return Err(UnikernelError::malformed("byte 4", format!("{other} is no class of an ELF file"))),
        };
        let head = if wide { input.at("the header of an ELF file", 0, 64)? } else { head };
        if head[5] != 1 {
            return Err(UnikernelError::Machine("big-endian".to_owned()));
        }
        let words = Words(&head);
        match words.half(16) {
            TYPE_EXECUTABLE | TYPE_SHARED => {}
            1 => return Err(UnikernelError::NoKernel("it is an object file, which is not linked yet".to_owned())),
            4 => return Err(UnikernelError::NoKernel("it is the memory of a crashed program".to_owned())),
            other => return Err(UnikernelError::malformed("byte 16", format!("{other} is no type of an ELF file"))),
        }
        let layout = Layout::of(wide);
        let (entry, segments_at, sections_at) = match wide {
            true => (words.long(24), words.long(32), words.long(40)),
            false => (u64::from(words.word(24)), u64::from(words.word(28)), u64::from(words.word(32))),
        };
        let counts = if wide { 54 } else { 42 };
        let mut elf = Elf {
            wide,
            machine: words.half(18),
            entry,
            segments: segments(input, &layout, segments_at, words.half(counts), words.half(counts + 2))?,
            sections: Vec::new(),
            notes: Vec::new(),
        };
        elf.check()?;
        let [size, count, names] = [4, 6, 8].map(|more| words.half(counts + more));
        elf.sections = sections(input, &layout, sections_at, size, count, names)?;
        elf.notes = elf.read_notes(input)?;
        Ok(elf)
    }

    /// The segments that are put into memory.
    pub fn loaded(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.kind == SEGMENT_LOAD && s.memory_size > 0)
    }

    /// A section by its name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name)
    }

    /// That a program can come of it.
    fn check(&self) -> Result<()> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for segment in self.loaded() {
            let end = segment.address.checked_add(segment.memory_size);
            ranges.push((segment.address, end.unwrap_or(u64::MAX)));
        }
        if ranges.is_empty() {
            return Err(UnikernelError::NoKernel("nothing of it is put into memory".to_owned()));
        }
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            if let [(_, end), (start, _)] = pair
                && start < end
            {
                let why = format!("one ends at {end:#x}, and the next begins at {start:#x}");
                return Err(UnikernelError::malformed("its segments overlap in memory", why));
            }
        }
        let inside = |s: &Segment| {
            let within = |start: u64| self.entry >= start && self.entry - start < s.memory_size;
            within(s.address) || within(s.virtual_address)
        };
        match self.loaded().any(inside) {
            true => Ok(()),
            false => {
                let why = format!("{:#x} is in none of its segments", self.entry);
                Err(UnikernelError::malformed("its entry point", why))
            }
        }
    }

    /// Notes of segments and of sections; most are both.
    fn read_notes(&self, input: &mut Input<'_>) -> Result<Vec<Note>> {
        let mut places: Vec<(u64, u64, u64)> = Vec::new();
        let segments = self.segments.iter().filter(|s| s.kind == SEGMENT_NOTE);
        places.extend(segments.map(|s| (s.offset, s.file_size, s.align)));
        for section in self.sections.iter().filter(|s| s.kind == SECTION_NOTE) {
            let covered = |(at, size, _): &(u64, u64, u64)| {
                *at <= section.offset && section.offset.saturating_add(section.size) <= at.saturating_add(*size)
            };
            if !places.iter().any(covered) {
                places.push((section.offset, section.size, 4));
            }
        }
        let mut found = Vec::new();
        for (at, size, align) in places {
            notes::read(input, at, size, align, &mut found)?;
        }
        Ok(found)
    }
}

/// Where fields are, by class.
struct Layout {
    wide: bool,
    segment: u16,
    section: u16,
}

impl Layout {
    fn of(wide: bool) -> Layout {
        match wide {
            true => Layout { wide, segment: 56, section: 64 },
            false => Layout { wide, segment: 32, section: 40 },
        }
    }

    fn segment(&self, bytes: &[u8]) -> Segment {
        let words = Words(bytes);
        let short = |at: usize| u64::from(words.word(at));
        match self.wide {
            true => Segment {
                kind: words.word(0),
                offset: words.long(8),
                virtual_address: words.long(16),
                address: words.long(24),
                file_size: words.long(32),
                memory_size: words.long(40),
                align: words.long(48),
            },
            false => Segment {
                kind: words.word(0),
                offset: short(4),
                virtual_address: short(8),
                address: short(12),
                file_size: short(16),
                memory_size: short(20),
                align: short(28),
            },
        }
    }

    /// Name, kind, place and size of a section.
    fn section(&self, bytes: &[u8]) -> (u32, u32, u64, u64) {
        let words = Words(bytes);
        let (at, size) = match self.wide {
            true => (words.long(24), words.long(32)),
            false => (u64::from(words.word(16)), u64::from(words.word(20))),
        };
        (words.word(0), words.word(4), at, size)
    }
}

fn segments(input: &mut Input<'_>, layout: &Layout, at: u64, size: u16, count: u16) -> Result<Vec<Segment>> {
    if count == 0 {
        return Err(UnikernelError::NoKernel("it has no segments, so nothing of it is put into memory".to_owned()));
    }
    if u64::from(count) > MAX_SEGMENTS {
        return Err(UnikernelError::TooMany { what: "segments", count: count.into(), limit: MAX_SEGMENTS });
    }
    if size != layout.segment {
        let why = format!("each would have {size} bytes, and such files have {}", layout.segment);
        return Err(UnikernelError::malformed("its segments", why));
    }
    let table = input.at("the table of its segments", at, u64::from(count) * u64::from(size))?;
    let mut found = Vec::new();
    for (index, bytes) in table.chunks_exact(usize::from(size)).enumerate() {
        let segment = layout.segment(bytes);
        let what = format!("segment {index} (header at byte {})", at + index as u64 * u64::from(size));
        if segment.kind == SEGMENT_LOAD || segment.kind == SEGMENT_NOTE {
            input.has(&what, segment.offset, segment.file_size)?;
        }
        if segment.kind == SEGMENT_LOAD {
            if segment.file_size > segment.memory_size {
                let why = format!("{} bytes of the file into {} of memory", segment.file_size, segment.memory_size);
                return Err(UnikernelError::malformed(what, why));
            }
            if segment.address.checked_add(segment.memory_size).is_none() {
                let why = format!("{} bytes at {:#x} are beyond all memory", segment.memory_size, segment.address);
                return Err(UnikernelError::malformed(what, why));
            }
        }
        found.push(segment);
    }
    Ok(found)
}

fn sections(
    input: &mut Input<'_>,
    layout: &Layout,
    at: u64,
    size: u16,
    count: u16,
    names: u16,
) -> Result<Vec<Section>> {
    if at == 0 {
        return Ok(Vec::new());
    }
    // Zero says that there are so many that the number is elsewhere.
    let counted = if count == 0 { u64::from(u16::MAX) } else { u64::from(count) };
    if counted > MAX_SECTIONS {
        return Err(UnikernelError::TooMany { what: "sections", count: counted, limit: MAX_SECTIONS });
    }
    if size != layout.section {
        let why = format!("each would have {size} bytes, and such files have {}", layout.section);
        return Err(UnikernelError::malformed("its sections", why));
    }
    let table = input.at("the table of its sections", at, counted * u64::from(size))?;
    let raw: Vec<_> = table.chunks_exact(usize::from(size)).map(|bytes| layout.section(bytes)).collect();
    let Some((_, _, names_at, names_size)) = raw.get(usize::from(names)).copied() else {
        let why = format!("they are in section {names}, and there are {count}");
        return Err(UnikernelError::malformed("the names of its sections", why));
    };
    if names_size > MAX_NAMES {
        return Err(UnikernelError::TooMany { what: "bytes of names", count: names_size, limit: MAX_NAMES });
    }
    let names = input.at("the names of its sections", names_at, names_size)?;
    let mut found = Vec::new();
    for (index, (name, kind, offset, size)) in raw.into_iter().enumerate() {
        let Some(rest) = names.get(name as usize..).filter(|_| name == 0 || (name as usize) < names.len()) else {
            let why = format!("its name would be at {name} of {} bytes of names", names.len());
            return Err(UnikernelError::malformed(format!("section {index}"), why));
        };
        if kind != SECTION_NOBITS && kind != 0 {
            input.has(&format!("section {index}"), offset, size)?;
        }
        // A longer one is none of those that are looked for.
        let end = rest.iter().take(64).position(|b| *b == 0).unwrap_or(0);
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        found.push(Section { name, offset, size, kind });
    }
    Ok(found)
}

//! A program's file: what of it goes where in memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use super::stub::{self, Op};

const PAGE: u64 = 4096;
/// As many segments as any linker makes, and many more.
const MAX_SEGMENTS: usize = 128;
/// The longest path of an interpreter.
const MAX_INTERPRETER: u64 = 4096;
/// Larger alignments are of no use to anybody.
const MAX_ALIGN: u64 = 1 << 30;
/// No address of a program is above.
const MAX_ADDRESS: u64 = 1 << 47;

const PRIVATE: u64 = 0x2;
const ANONYMOUS: u64 = 0x20;
const FIXED: u64 = 0x10;
const NO_REPLACE: u64 = 0x10_0000;

/// A segment that is loaded.
#[derive(Clone, Copy, Debug)]
struct Segment {
    flags: u32,
    offset: u64,
    address: u64,
    in_file: u64,
    in_memory: u64,
}

/// What the headers say.
#[derive(Debug)]
pub struct Image {
    /// Whether it can be anywhere.
    floats: bool,
    entry: u64,
    /// Where the table of segments is in memory, and how many entries it has.
    table: u64,
    entries: u64,
    align: u64,
    segments: Vec<Segment>,
    /// The program that loads it.
    pub interpreter: Option<Vec<u8>>,
}

/// A program that is placed.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub base: u64,
    pub entry: u64,
    pub table: u64,
    pub entries: u64,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn int(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

impl Image {
    /// Reads the headers of a program for this machine.
    ///
    /// # Errors
    /// "Exec format error" for all others.
    pub fn read(file: &File) -> Result<Image, Errno> {
        let mut head = [0; 64];
        file.read_exact_at(&mut head, 0).map_err(|_| Errno::NOEXEC)?;
        let (kind, machine) = (half(&head, 16), half(&head, 18));
        if !head.starts_with(b"\x7fELF\x02\x01") || machine != 62 || !matches!(kind, 2 | 3) || half(&head, 54) != 56 {
            return Err(Errno::NOEXEC);
        }
        let count = usize::from(half(&head, 56));
        if count == 0 || count > MAX_SEGMENTS {
            return Err(Errno::NOEXEC);
        }
        let start = word(&head, 32);
        let mut table = vec![0; count * 56];
        file.read_exact_at(&mut table, start).map_err(|_| Errno::NOEXEC)?;
        let mut image = Image {
            floats: kind == 3,
            entry: word(&head, 24),
            table: 0,
            entries: count as u64,
            align: PAGE,
            segments: Vec::new(),
            interpreter: None,
        };
        for row in table.chunks_exact(56) {
            image.add(file, row, start)?;
        }
        if image.segments.is_empty() { Err(Errno::NOEXEC) } else { Ok(image) }
    }

    fn add(&mut self, file: &File, row: &[u8], table: u64) -> Result<(), Errno> {
        let (offset, address, in_file, in_memory) = (word(row, 8), word(row, 16), word(row, 32), word(row, 40));
        match int(row, 0) {
            1 if in_memory > 0 => {
                let bounded = [address, in_memory, offset, in_file].iter().all(|value| *value < MAX_ADDRESS);
                let in_order = self.segments.last().is_none_or(|last| last.address + last.in_memory <= address);
                if !bounded || !in_order || in_file > in_memory || offset % PAGE != address % PAGE {
                    return Err(Errno::NOEXEC);
                }
                self.align = self.align.max(word(row, 48).min(MAX_ALIGN).next_power_of_two());
                if (offset..offset + in_file).contains(&table) {
                    self.table = address + (table - offset);
                }
                self.segments.push(Segment { flags: int(row, 4), offset, address, in_file, in_memory });
            }
            3 => {
                if !(2..=MAX_INTERPRETER).contains(&in_file) {
                    return Err(Errno::NOEXEC);
                }
                let mut path = vec![0; usize::try_from(in_file).map_err(|_| Errno::NOEXEC)?];
                file.read_exact_at(&mut path, offset).map_err(|_| Errno::NOEXEC)?;
                if path.pop() != Some(0) || path.contains(&0) {
                    return Err(Errno::NOEXEC);
                }
                self.interpreter = Some(path);
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts it at `wanted`, or where it has to be; what the stub has to do for that goes to `ops`.
    pub fn place(&self, wanted: u64, ops: &mut Vec<Op>) -> Placed {
        let first = self.segments.first().map_or(0, |segment| segment.address & !(PAGE - 1));
        let end = self.segments.last().map_or(0, |last| (last.address + last.in_memory).next_multiple_of(PAGE));
        let base =
            if self.floats { wanted.next_multiple_of(self.align).wrapping_sub(first & !(self.align - 1)) } else { 0 };
        ops.push(stub::OPEN);
        // All of it at once, so that nothing else gets between.
        ops.push(stub::map(base + first, end - first, 0, PRIVATE | ANONYMOUS | FIXED | NO_REPLACE, 0));
        for segment in &self.segments {
            segment.map(base, ops);
        }
        ops.push(stub::CLOSE);
        Placed { base, entry: base + self.entry, table: base + self.table, entries: self.entries }
    }
}

impl Segment {
    fn map(&self, base: u64, ops: &mut Vec<Op>) {
        // Of the kernel's flags execute, write, read are 4, 2, 1; of the file's they are 1, 2, 4.
        let allowed = u64::from((self.flags & 4) >> 2 | self.flags & 2 | (self.flags & 1) << 2);
        let start = (base + self.address) & !(PAGE - 1);
        let before = self.address % PAGE;
        let file_end = base + self.address + self.in_file;
        let end = (base + self.address + self.in_memory).next_multiple_of(PAGE);
        let mut mapped = start;
        if self.in_file > 0 {
            mapped = file_end.next_multiple_of(PAGE);
            ops.push(stub::map(start, file_end - start, allowed, PRIVATE | FIXED, self.offset - before));
            if self.in_memory > self.in_file && allowed & 2 != 0 && mapped > file_end {
                ops.push(stub::zero(file_end, mapped - file_end));
            }
        }
        if end > mapped {
            ops.push(stub::map(mapped, end - mapped, allowed, PRIVATE | ANONYMOUS | FIXED, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn programs_of_this_machine_are_understood() {
        let image = Image::read(&File::open("/bin/sh").unwrap()).unwrap();
        assert!(image.floats && image.interpreter.unwrap().starts_with(b"/lib64/ld-linux"));
        let own = Image::read(&File::open("/proc/self/exe").unwrap()).unwrap();
        let mut ops = Vec::new();
        let placed = own.place(0x5000_0000_0000, &mut ops);
        assert_eq!((placed.base, placed.table), (0x5000_0000_0000, 0x5000_0000_0000 + 64));
        assert!(ops.len() >= 5);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let real = std::fs::read("/bin/sh").unwrap();
        let broken = |at: usize, value: &[u8]| {
            let mut bytes = real[..4096].to_vec();
            bytes[at..at + value.len()].copy_from_slice(value);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            Image::read(&file).map(drop)
        };
        assert_eq!(broken(0, b"\x7fELF"), Ok(()));
        for (at, value) in
            [(4, &b"\x01"[..]), (18, b"\x03"), (32, &[0xff; 8]), (56, &[0xff; 2]), (54, b"\x20"), (16, b"\x01")]
        {
            assert_eq!(broken(at, value), Err(Errno::NOEXEC), "{at}");
        }
        // Every field of every segment.
        for at in (64..64 + 13 * 56).step_by(8) {
            let _ = broken(at, &[0xff; 8]);
        }
        let empty = tempfile::tempfile().unwrap();
        assert_eq!(Image::read(&empty).map(drop), Err(Errno::NOEXEC));
    }
}

//! Reading FAT of any width that nobody vouches for: chains that leave the disk, go in circles or are too long are errors.

use super::{DIRECTORY, LONG, NAME, VOLUME, Width, checksum};
use crate::error::{DiskError, Result};
use crate::io::ReadAt;

const MAX_ENTRIES: usize = 200_000;
const MAX_DEPTH: usize = 32;
/// A directory has no more.
const MAX_DIRECTORY: u64 = 65_536 * 32;

/// What is on the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where, with `/` between names and none in front.
    pub path: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// How many bytes it has.
    pub len: u64,
    first: u64,
}

/// An open FAT file system.
#[derive(Debug)]
pub struct Reader<R> {
    disk: R,
    width: Width,
    cluster: u64,
    fat_at: u64,
    root_at: u64,
    root_len: u64,
    root_cluster: u64,
    data_at: u64,
    clusters: u64,
    label: String,
}

fn damaged(what: impl Into<String>, why: impl Into<String>) -> DiskError {
    DiskError::Damaged { format: NAME, what: what.into(), why: why.into() }
}

impl<R: ReadAt> Reader<R> {
    /// Opens what `disk` (a partition, not a whole disk) holds.
    ///
    /// # Errors
    /// When it is no FAT, or damaged.
    pub fn open(disk: R) -> Result<Reader<R>> {
        let mut b = [0; 512];
        disk.read_exact_at(&mut b, 0).map_err(|source| DiskError::Read { what: "boot sector", offset: 0, source })?;
        let u16_at = |at: usize| u64::from(u16::from_le_bytes([b[at], b[at + 1]]));
        let u32_at = |at: usize| u64::from(u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]));
        let sector = u16_at(11);
        let per_cluster = u64::from(b[13]);
        let (reserved, fats) = (u16_at(14), u64::from(b[16]));
        let usual =
            b[510..] == [0x55, 0xaa] && [512, 1024, 2048, 4096].contains(&sector) && per_cluster.is_power_of_two();
        if !usual || reserved == 0 || !(1..=2).contains(&fats) {
            return Err(damaged("boot sector", "it is none of FAT"));
        }
        let or = |small: u64, large: u64| if small != 0 { small } else { large };
        let (fat, sectors) = (or(u16_at(22), u32_at(36)), or(u16_at(19), u32_at(32)));
        let root = (u16_at(17) * 32).div_ceil(sector);
        let data = reserved + fats * fat + root;
        let clusters = sectors.saturating_sub(data) / per_cluster;
        let width = Width::of(clusters);
        let len = disk.len().map_err(|source| DiskError::Read { what: "partition", offset: 0, source })?;
        let covers = match width {
            Width::Fat12 => fat * sector * 2 / 3,
            Width::Fat16 => fat * sector / 2,
            Width::Fat32 => fat * sector / 4,
        };
        if sectors * sector > len || covers < clusters + 2 {
            return Err(damaged("boot sector", "what it says is larger than the partition or its table"));
        }
        let (at, place) = if width == Width::Fat32 { (71, u32_at(44)) } else { (43, 0) };
        let label = String::from_utf8_lossy(&b[at..at + 11]).trim_end().to_owned();
        Ok(Reader {
            width,
            cluster: sector * per_cluster,
            fat_at: reserved * sector,
            root_at: (reserved + fats * fat) * sector,
            root_len: root * sector,
            root_cluster: place,
            data_at: data * sector,
            clusters,
            label,
            disk,
        })
    }

    /// Its name.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How wide the entries of its table are.
    pub fn width(&self) -> Width {
        self.width
    }

    /// All that is on it, directories before what is in them.
    ///
    /// # Errors
    /// When it is damaged or holds absurdly much.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut all = Vec::new();
        let mut open = vec![(String::new(), self.root_cluster, 0)];
        while let Some((path, first, depth)) = open.pop() {
            for entry in self.directory(&path, first, depth)? {
                if entry.directory {
                    open.push((entry.path.clone(), entry.first, depth + 1));
                }
                all.push(entry);
                if all.len() > MAX_ENTRIES {
                    return Err(damaged("directories", format!("they hold more than {MAX_ENTRIES} entries")));
                }
            }
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    /// The bytes of a file, if it has at most `limit`.
    ///
    /// # Errors
    /// When it is larger, damaged, or cannot be read.
    pub fn read(&self, entry: &Entry, limit: u64) -> Result<Vec<u8>> {
        if entry.len > limit {
            return Err(damaged(entry.path.escape_debug().to_string(), format!("it has more than {limit} bytes")));
        }
        let mut data = self.chain(&entry.path, entry.first, entry.len)?;
        if (data.len() as u64) < entry.len {
            return Err(damaged(entry.path.escape_debug().to_string(), "its chain is shorter than it"));
        }
        data.truncate(entry.len as usize);
        Ok(data)
    }

    fn directory(&self, path: &str, first: u64, depth: usize) -> Result<Vec<Entry>> {
        if depth > MAX_DEPTH {
            return Err(damaged(path.escape_debug().to_string(), "it is too deep, or goes in a circle"));
        }
        let bytes = if depth == 0 && self.width != Width::Fat32 {
            let mut bytes = vec![0; self.root_len as usize];
            self.get("directory", &mut bytes, self.root_at)?;
            bytes
        } else {
            self.chain(path, first, MAX_DIRECTORY)?
        };
        Ok(parse(path, &bytes))
    }

    fn get(&self, what: &'static str, buf: &mut [u8], offset: u64) -> Result<()> {
        self.disk.read_exact_at(buf, offset).map_err(|source| DiskError::Read { what, offset, source })
    }

    /// Up to `len` bytes of a chain, in whole clusters. No chain is longer than the disk, so a circle ends.
    fn chain(&self, path: &str, first: u64, len: u64) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        let mut at = first;
        let mut steps = 0;
        while (data.len() as u64) < len && at != 0 {
            if at < 2 || at >= self.clusters + 2 || steps > self.clusters {
                return Err(damaged(path.escape_debug().to_string(), "its chain leaves the disk or goes in a circle"));
            }
            let end = data.len();
            data.resize(end + self.cluster as usize, 0);
            self.get("cluster", &mut data[end..], self.data_at + (at - 2) * self.cluster)?;
            at = self.next(at)?;
            steps += 1;
        }
        Ok(data)
    }

    /// The cluster behind this one; 0 at the end.
    fn next(&self, at: u64) -> Result<u64> {
        let mut b = [0; 4];
        let (next, end) = match self.width {
            Width::Fat32 => {
                self.get("table", &mut b, self.fat_at + at * 4)?;
                (u64::from(u32::from_le_bytes(b)) & 0x0fff_ffff, 0x0fff_fff8)
            }
            Width::Fat16 => {
                self.get("table", &mut b[..2], self.fat_at + at * 2)?;
                (u64::from(u16::from_le_bytes([b[0], b[1]])), 0xfff8)
            }
            Width::Fat12 => {
                self.get("table", &mut b[..2], self.fat_at + at * 3 / 2)?;
                let pair = u64::from(u16::from_le_bytes([b[0], b[1]]));
                (if at.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 }, 0xff8)
            }
        };
        Ok(if next >= end { 0 } else { next.max(1) })
    }
}

fn parse(dir: &str, bytes: &[u8]) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut long: Vec<(u8, u8, [u16; 13])> = Vec::new();
    for r in bytes.as_chunks::<32>().0 {
        match (r[0], r[11]) {
            (0, _) => break,
            (0xe5, _) => long.clear(),
            (_, LONG) => long.push((r[0], r[13], piece(r))),
            (_, kind) if kind & VOLUME != 0 => long.clear(),
            (_, kind) => {
                let mut short = [0; 11];
                short.copy_from_slice(&r[..11]);
                let name = long_name(&long, checksum(&short)).unwrap_or_else(|| short_name(&short, r[12]));
                long.clear();
                if name == "." || name == ".." || name.is_empty() || name.contains(['/', '\0']) {
                    continue;
                }
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                let high = u64::from(u16::from_le_bytes([r[20], r[21]]));
                let first = (high << 16) | u64::from(u16::from_le_bytes([r[26], r[27]]));
                let len = u64::from(u32::from_le_bytes([r[28], r[29], r[30], r[31]]));
                found.push(Entry { path, directory: kind & DIRECTORY != 0, len, first });
            }
        }
    }
    found
}

fn piece(r: &[u8; 32]) -> [u16; 13] {
    [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30].map(|at| u16::from_le_bytes([r[at], r[at + 1]]))
}

/// The long name before a short one, when all of it is there and belongs to it.
fn long_name(pieces: &[(u8, u8, [u16; 13])], sum: u8) -> Option<String> {
    let count = u8::try_from(pieces.len()).ok().filter(|count| (1..=20).contains(count))?;
    let whole = pieces.iter().enumerate().all(|(i, (number, own, _))| number & 0x3f == count - i as u8 && *own == sum);
    let units: Vec<u16> = pieces.iter().rev().flat_map(|(_, _, units)| *units).take_while(|u| *u != 0).collect();
    whole.then(|| String::from_utf16_lossy(&units))
}

fn short_name(short: &[u8; 11], flags: u8) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let text: String = bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '_' }).collect();
        if lower { text.trim_end().to_ascii_lowercase() } else { text.trim_end().to_owned() }
    };
    let (base, extension) = (part(&short[..8], flags & 8 != 0), part(&short[8..], flags & 16 != 0));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

#[cfg(test)]
mod tests {
    use super::super::{File, Options, write};
    use super::*;

    fn made(len: u64) -> Vec<u8> {
        let mut disk = vec![0; len as usize];
        let big = vec![7; 20_000];
        let files = vec![
            File::new("EFI/BOOT/BOOTX64.EFI", &big),
            File::new("loader/entries/a long name of a kernel-6.1.0.conf", b"title x\n"),
            File::new("empty", b""),
        ];
        let options = Options { len, label: "CIDATA".into(), serial: 1, offset: 0, epoch: 1_700_000_000 };
        write(&mut disk, files, &options).unwrap();
        disk
    }

    #[test]
    fn what_is_written_is_read_in_every_width() {
        for (len, width) in [(1 << 20, Width::Fat12), (16 << 20, Width::Fat16), (64 << 20, Width::Fat32)] {
            let disk = made(len);
            let reader = Reader::open(&disk).unwrap();
            assert_eq!((reader.label(), reader.width()), ("CIDATA", width));
            let entries = reader.entries().unwrap();
            let paths: Vec<&str> = entries.iter().map(|e| e.path.as_str()).collect();
            let want = [
                "EFI",
                "EFI/BOOT",
                "EFI/BOOT/BOOTX64.EFI",
                "empty",
                "loader",
                "loader/entries",
                "loader/entries/a long name of a kernel-6.1.0.conf",
            ];
            assert_eq!(paths, want);
            assert_eq!(reader.read(&entries[2], 1 << 20).unwrap(), vec![7; 20_000]);
            assert_eq!(reader.read(&entries[6], 1 << 20).unwrap(), b"title x\n");
            assert!(reader.read(&entries[2], 100).is_err());
        }
    }

    #[test]
    fn no_input_makes_it_fail_badly() {
        let good = made(1 << 20);
        let reader = Reader::open(&good).unwrap();
        let (fat, root) = (reader.fat_at as usize, reader.root_at as usize);
        for at in (0..64).chain(fat..fat + 64).chain(root..root + 400) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                if let Ok(reader) = Reader::open(&bad) {
                    for entry in reader.entries().unwrap_or_default() {
                        let _ = reader.read(&entry, 1 << 20);
                    }
                }
            }
        }
    }
}

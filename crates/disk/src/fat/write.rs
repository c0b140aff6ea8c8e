//! Writing: everything is placed before anything is written; directories first, then files, each in one piece.

use std::collections::BTreeMap;
use std::io::Read;

use super::{DIRECTORY, LONG, NAME, VOLUME, Width, checksum};
use crate::error::{DiskError, Result};
use crate::io::WriteAt;

const SECTOR: u64 = 512;
const MAX_FILES: usize = 65_536;
const MAX_DEPTH: usize = 32;

/// A file to be written.
pub struct File<'a> {
    /// Where, with `/` between names and none in front. Directories come by themselves.
    pub path: String,
    /// How many bytes it has.
    pub len: u64,
    /// Its bytes.
    pub body: Box<dyn Read + 'a>,
}

impl<'a> File<'a> {
    /// A file with these bytes.
    pub fn new(path: impl Into<String>, data: &'a [u8]) -> File<'a> {
        File { path: path.into(), len: data.len() as u64, body: Box::new(data) }
    }
}

/// What a file system is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its bytes.
    pub len: u64,
    /// Its name: up to 11 characters of ASCII, in capitals. `CIDATA` is what cloud-init looks for.
    pub label: String,
    /// Its serial number.
    pub serial: u32,
    /// Where on the disk it is, in bytes: some firmware reads it.
    pub offset: u64,
    /// The time of everything, in seconds since 1970; earlier than 1980 there is none.
    pub epoch: u64,
}

struct Geometry {
    width: Width,
    sectors: u64,
    per_cluster: u64,
    reserved: u64,
    fat: u64,
    root: u64,
    clusters: u64,
}

impl Geometry {
    /// The largest FAT that UEFI likes for the size: FAT32 from 64 MiB on.
    fn choose(len: u64) -> Result<Geometry> {
        let sectors = len / SECTOR;
        let no = |why: String| Err(DiskError::Options { format: NAME, why });
        if !(64..=1 << 32).contains(&sectors) {
            return no(format!("it cannot have {len} bytes, only 32 KiB to 2 TiB"));
        }
        let want = if len >= 64 << 20 { Width::Fat32 } else { Width::of(sectors / 4) };
        for per_cluster in [1, 2, 4, 8, 16, 32, 64, 128] {
            let g = Geometry::with(sectors, per_cluster, want);
            // Readers differ at the borders; stay away from them.
            let enough = match want {
                Width::Fat12 => g.clusters < 4085 - 16,
                Width::Fat16 => (4085 + 16..65525 - 16).contains(&g.clusters),
                Width::Fat32 => {
                    let small = per_cluster < 8 && len >= 512 << 20;
                    !small && (65525 + 16..0x0fff_fff5).contains(&g.clusters)
                }
            };
            if enough {
                return Ok(g);
            }
        }
        no(format!("no kind of it has {len} bytes"))
    }

    fn with(sectors: u64, per_cluster: u64, width: Width) -> Geometry {
        let (reserved, root) = match width {
            Width::Fat32 => (32, 0),
            _ => (per_cluster.max(4), 32),
        };
        let room = sectors.saturating_sub(reserved + root);
        let bits = match width {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 32,
        };
        // As if everything were clusters: a few sectors too many at most.
        let fat = ((room / per_cluster + 2) * bits).div_ceil(8 * SECTOR);
        let clusters = room.saturating_sub(2 * fat) / per_cluster;
        Geometry { width, sectors, per_cluster, reserved, fat, root, clusters }
    }

    fn cluster(&self) -> u64 {
        self.per_cluster * SECTOR
    }

    fn data(&self) -> u64 {
        (self.reserved + 2 * self.fat + self.root) * SECTOR
    }

    fn place(&self, cluster: u64) -> u64 {
        self.data() + (cluster - 2) * self.cluster()
    }
}

#[derive(Default)]
struct Dir {
    dirs: BTreeMap<String, usize>,
    files: BTreeMap<String, usize>,
    parent: usize,
    first: u64,
}

impl Dir {
    /// Entries of 32 bytes, with those of the long names.
    fn entries(&self) -> u64 {
        let names = self.dirs.keys().chain(self.files.keys());
        names
            .map(|n| 1 + if short(n).is_some() { 0 } else { n.encode_utf16().count().div_ceil(13) as u64 })
            .sum::<u64>()
            + 2
    }
}

/// Writes `files` as a new file system to `out`.
///
/// # Errors
/// When a name is none for FAT, everything does not fit, a body is not as long as it says, or writing fails.
pub fn write(out: &mut dyn WriteAt, files: Vec<File<'_>>, options: &Options) -> Result<()> {
    let g = Geometry::choose(options.len)?;
    let label = label(&options.label)?;
    let mut dirs = tree(&files)?;
    let mut chains = Vec::new();
    let mut next = 2;
    let mut take = |bytes: u64| {
        let count = bytes.div_ceil(g.cluster());
        let first = if count == 0 { 0 } else { next };
        chains.extend((count > 0).then_some((next, count)));
        next += count;
        first
    };
    for (i, dir) in dirs.iter_mut().enumerate() {
        if i == 0 && g.root > 0 {
            if dir.entries() * 32 > g.root * SECTOR {
                return Err(entry("", "it has too many files at its top"));
            }
        } else {
            dir.first = take(dir.entries() * 32);
        }
    }
    let firsts: Vec<u64> = files.iter().map(|f| take(f.len)).collect();
    if next - 2 > g.clusters {
        let what = format!("{} bytes are needed", (next - 2) * g.cluster());
        return Err(DiskError::Full { format: NAME, has: g.clusters * g.cluster(), path: String::new(), what });
    }
    let mut w = Writer { out, g: &g, options, label };
    w.heads(next - 2)?;
    w.fats(&chains)?;
    for i in 0..dirs.len() {
        let listing = w.listing(&dirs, i, &firsts, &files);
        let at = if dirs[i].first == 0 { g.data() - g.root * SECTOR } else { g.place(dirs[i].first) };
        w.put("directory", &listing, at)?;
    }
    for (file, first) in files.into_iter().zip(firsts) {
        w.body(file, first)?;
    }
    Ok(())
}

fn entry(path: &str, why: &str) -> DiskError {
    DiskError::Entry { format: NAME, path: path.escape_debug().to_string(), why: why.to_owned() }
}

fn label(text: &str) -> Result<[u8; 11]> {
    let good =
        text.len() <= 11 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_ ".contains(&b));
    if !good {
        let why = format!("`{}` is no label: up to 11 capitals, digits, `-`, `_`", text.escape_debug());
        return Err(DiskError::Options { format: NAME, why });
    }
    let mut label = [b' '; 11];
    let text = if text.is_empty() { "NO NAME" } else { text };
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

fn tree(files: &[File<'_>]) -> Result<Vec<Dir>> {
    let mut dirs = vec![Dir::default()];
    if files.len() > MAX_FILES {
        return Err(entry("", "there are more than 65536 files"));
    }
    for (i, file) in files.iter().enumerate() {
        if file.len > u64::from(u32::MAX) {
            return Err(entry(&file.path, "a file has less than 4 GiB there"));
        }
        let names: Vec<&str> = file.path.split('/').collect();
        let (last, above) = names.split_last().unwrap_or((&"", &[]));
        if above.len() > MAX_DEPTH {
            return Err(entry(&file.path, "it is too deep"));
        }
        let mut dir = 0;
        for name in above {
            check_name(&file.path, name)?;
            dir = match find(&dirs[dir].dirs, name) {
                Some(dir) => dir,
                None => {
                    let new = dirs.len();
                    dirs.push(Dir { parent: dir, ..Dir::default() });
                    dirs[dir].dirs.insert((*name).to_owned(), new);
                    new
                }
            };
        }
        check_name(&file.path, last)?;
        if find(&dirs[dir].files, last).is_some() || find(&dirs[dir].dirs, last).is_some() {
            return Err(entry(&file.path, "a file of that name, capitals or not, is there already"));
        }
        dirs[dir].files.insert((*last).to_owned(), i);
    }
    match dirs.iter().find_map(|d| d.dirs.keys().find(|n| find(&d.files, n).is_some())) {
        Some(name) => Err(entry(name, "it is a file and a directory")),
        None => Ok(dirs),
    }
}

/// Names are the same whether in capitals or not.
fn find(names: &BTreeMap<String, usize>, name: &str) -> Option<usize> {
    names.get(name).or_else(|| names.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, i)| i)).copied()
}

fn check_name(path: &str, name: &str) -> Result<()> {
    let bad = name.chars().any(|c| c < ' ' || r#""*/:<>?\|"#.contains(c));
    if name.is_empty() || name == "." || name == ".." || bad || name.ends_with(['.', ' ']) {
        return Err(entry(path, "such a name cannot be on FAT"));
    }
    if name.encode_utf16().count() > 255 {
        return Err(entry(path, "its name is longer than 255 characters"));
    }
    Ok(())
}

/// The name in the old form, when it is one already.
fn short(name: &str) -> Option<[u8; 11]> {
    let good = |part: &str| part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_".contains(&b));
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    if base.is_empty() || base.len() > 8 || extension.len() > 3 || !good(base) || !good(extension) {
        return None;
    }
    if name.ends_with('.') {
        return None;
    }
    let mut out = [b' '; 11];
    out[..base.len()].copy_from_slice(base.as_bytes());
    out[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    Some(out)
}

/// A short name for a long one: letters of it, `~`, its number in the directory.
fn numbered(name: &str, number: usize) -> [u8; 11] {
    let plain = |text: &str| -> Vec<u8> {
        text.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_uppercase()).collect()
    };
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let tail = format!("~{number}");
    let mut out = [b' '; 11];
    let base = plain(base);
    let keep = base.len().min(8 - tail.len().min(7));
    out[..keep].copy_from_slice(&base[..keep]);
    out[keep..keep + tail.len()].copy_from_slice(tail.as_bytes());
    for (slot, b) in out[8..].iter_mut().zip(plain(extension)) {
        *slot = b;
    }
    out
}

struct Writer<'a, 'b> {
    out: &'a mut dyn WriteAt,
    g: &'b Geometry,
    options: &'b Options,
    label: [u8; 11],
}

impl Writer<'_, '_> {
    fn put(&mut self, what: &'static str, data: &[u8], offset: u64) -> Result<()> {
        self.out.write_at(data, offset).map_err(|source| DiskError::Write { what, offset, source })
    }

    fn heads(&mut self, used: u64) -> Result<()> {
        let boot = self.boot_sector();
        let end = self.g.data();
        self.out.zero_at(0, end).map_err(|source| DiskError::Write { what: "head", offset: 0, source })?;
        self.put("boot sector", &boot, 0)?;
        if self.g.width == Width::Fat32 {
            let mut info = vec![0; 512];
            info[..4].copy_from_slice(b"RRaA");
            info[484..488].copy_from_slice(b"rrAa");
            info[488..492].copy_from_slice(&((self.g.clusters - used) as u32).to_le_bytes());
            info[492..496].copy_from_slice(&((used + 2) as u32).to_le_bytes());
            info[508..].copy_from_slice(&[0, 0, 0x55, 0xaa]);
            for at in [1, 7] {
                self.put("free space", &info, at * SECTOR)?;
            }
            self.put("copy of the boot sector", &boot, 6 * SECTOR)?;
        }
        Ok(())
    }

    fn boot_sector(&self) -> Vec<u8> {
        let g = self.g;
        let fat32 = g.width == Width::Fat32;
        let mut b = Vec::with_capacity(512);
        b.extend(if fat32 { [0xeb, 0x58, 0x90] } else { [0xeb, 0x3c, 0x90] });
        b.extend(b"KILN    ");
        b.extend((SECTOR as u16).to_le_bytes());
        b.push(g.per_cluster as u8);
        b.extend((g.reserved as u16).to_le_bytes());
        b.push(2);
        b.extend(((g.root * SECTOR / 32) as u16).to_le_bytes());
        let small = !fat32 && g.sectors < 65536;
        b.extend(if small { g.sectors as u16 } else { 0 }.to_le_bytes());
        b.push(0xf8);
        b.extend(if fat32 { 0 } else { g.fat as u16 }.to_le_bytes());
        b.extend([63, 0, 255, 0]);
        b.extend(u32::try_from(self.options.offset / SECTOR).unwrap_or(0).to_le_bytes());
        b.extend(if small { 0 } else { g.sectors.min(u64::from(u32::MAX)) as u32 }.to_le_bytes());
        if fat32 {
            b.extend((g.fat as u32).to_le_bytes());
            b.extend([0, 0, 0, 0]);
            b.extend(2u32.to_le_bytes());
            b.extend([1, 0, 6, 0]);
            b.extend([0; 12]);
        }
        b.extend([0x80, 0, 0x29]);
        b.extend(self.options.serial.to_le_bytes());
        b.extend(self.label);
        b.extend(match g.width {
            Width::Fat12 => b"FAT12   ",
            Width::Fat16 => b"FAT16   ",
            Width::Fat32 => b"FAT32   ",
        });
        // Who boots it as if it were a disk gets the BIOS's next try.
        b.extend([0xcd, 0x18, 0xeb, 0xfe]);
        b.resize(510, 0);
        b.extend([0x55, 0xaa]);
        b
    }

    fn fats(&mut self, chains: &[(u64, u64)]) -> Result<()> {
        let last = chains.last().map_or(2, |(first, count)| first + count) as usize;
        let mut next: Vec<u32> = vec![0; last];
        next[0] = 0x0fff_fff8;
        next[1] = 0x0fff_ffff;
        for &(first, count) in chains {
            for cluster in first..first + count {
                next[cluster as usize] = if cluster + 1 == first + count { 0x0fff_ffff } else { cluster as u32 + 1 };
            }
        }
        let bytes: Vec<u8> = match self.g.width {
            Width::Fat32 => next.iter().flat_map(|n| n.to_le_bytes()).collect(),
            Width::Fat16 => next.iter().flat_map(|n| (*n as u16).to_le_bytes()).collect(),
            Width::Fat12 => twelve(&next),
        };
        for copy in 0..2 {
            self.put("table", &bytes, (self.g.reserved + copy * self.g.fat) * SECTOR)?;
        }
        Ok(())
    }

    fn listing(&self, dirs: &[Dir], at: usize, firsts: &[u64], files: &[File<'_>]) -> Vec<u8> {
        let dir = &dirs[at];
        let mut out = Vec::new();
        if at == 0 {
            out.extend(self.record(&self.label, VOLUME, 0, 0));
        } else {
            // The top is named 0 even where it has a cluster.
            let parent = if dir.parent == 0 { 0 } else { dirs[dir.parent].first };
            out.extend(self.record(b".          ", DIRECTORY, dir.first, 0));
            out.extend(self.record(b"..         ", DIRECTORY, parent, 0));
        }
        let subdirs = dir.dirs.iter().map(|(name, i)| (name, DIRECTORY, dirs[*i].first, 0));
        let plain = dir.files.iter().map(|(name, i)| (name, 0x20, firsts[*i], files[*i].len));
        for (number, (name, kind, first, len)) in subdirs.chain(plain).enumerate() {
            let short = short(name).unwrap_or_else(|| {
                let short = numbered(name, number + 1);
                out.extend(long(name, checksum(&short)));
                short
            });
            out.extend(self.record(&short, kind, first, len));
        }
        let room = if dir.first == 0 { self.g.root * SECTOR } else { self.g.cluster() };
        out.resize((out.len() as u64).max(1).next_multiple_of(room) as usize, 0);
        out
    }

    fn record(&self, name: &[u8; 11], kind: u8, first: u64, len: u64) -> [u8; 32] {
        let (date, time) = dos_time(self.options.epoch);
        let mut r = [0; 32];
        r[..11].copy_from_slice(name);
        r[11] = kind;
        r[14..16].copy_from_slice(&time.to_le_bytes());
        r[16..18].copy_from_slice(&date.to_le_bytes());
        r[18..20].copy_from_slice(&date.to_le_bytes());
        r[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
        r[22..24].copy_from_slice(&time.to_le_bytes());
        r[24..26].copy_from_slice(&date.to_le_bytes());
        r[26..28].copy_from_slice(&(first as u16).to_le_bytes());
        r[28..].copy_from_slice(&(len as u32).to_le_bytes());
        r
    }

    fn body(&mut self, mut file: File<'_>, first: u64) -> Result<()> {
        let mut buf = vec![0; 1 << 20];
        let mut done = 0;
        let path = file.path.escape_debug().to_string();
        while done < file.len {
            let part = usize::try_from(file.len - done).unwrap_or(usize::MAX).min(buf.len());
            file.body.read_exact(&mut buf[..part]).map_err(|source| DiskError::Body { path: path.clone(), source })?;
            self.put("file", &buf[..part], self.g.place(first) + done)?;
            done += part as u64;
        }
        Ok(())
    }
}

fn twelve(next: &[u32]) -> Vec<u8> {
    let pair = |p: &[u32]| {
        let (a, b) = (p[0] & 0xfff, p.get(1).copied().unwrap_or(0) & 0xfff);
        [a as u8, ((a >> 8) | (b << 4)) as u8, (b >> 4) as u8]
    };
    next.chunks(2).flat_map(pair).collect()
}

/// The records of a long name, last piece first.
fn long(name: &str, sum: u8) -> Vec<u8> {
    let mut units: Vec<u16> = name.encode_utf16().collect();
    let count = units.len().div_ceil(13);
    if !units.len().is_multiple_of(13) {
        units.push(0);
    }
    units.resize(count * 13, 0xffff);
    let mut out = Vec::new();
    for (i, piece) in units.chunks(13).enumerate().rev() {
        let mut r = [0; 32];
        r[0] = (i as u8 + 1) | if i + 1 == count { 0x40 } else { 0 };
        r[11] = LONG;
        r[13] = sum;
        for (unit, at) in piece.iter().zip([1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30]) {
            r[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        out.extend(r);
    }
    out
}

/// Date and time as FAT writes them, in UTC.
fn dos_time(epoch: u64) -> (u16, u16) {
    let epoch = epoch.clamp(315_532_800, 4_354_819_198);
    let (days, seconds) = (epoch / 86_400, epoch % 86_400);
    let (year, month, day) = kiln_oci::time::date_of(days as i64);
    let date = ((year - 1980) << 9) | (month << 5) | day;
    let time = ((seconds / 3600) << 11) | ((seconds / 60 % 60) << 5) | (seconds % 60 / 2);
    (date as u16, time as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(dos_time(0), ((1 << 5) | 1, 0));
        // 2024-02-29 12:34:56
        assert_eq!(dos_time(1_709_210_096), ((44 << 9) | (2 << 5) | 29, (12 << 11) | (34 << 5) | 28));
    }

    #[test]
    fn names() {
        assert_eq!(short("BOOTX64.EFI").as_ref(), Some(b"BOOTX64 EFI"));
        assert_eq!(short("meta-data"), None);
        assert_eq!(&numbered("meta-data.txt", 12), b"METAD~12TXT");
        for bad in ["", "a/", "/a", "a//b", "a/../b", "a:b", "a.", "a\nb"] {
            assert!(tree(&[File::new(bad, b"")]).is_err(), "{bad:?}");
        }
        for two in [["a", "A"], ["a/b", "A"], ["a", "a/b"]] {
            assert!(tree(&two.map(|n| File::new(n, b""))).is_err(), "{two:?}");
        }
        assert!(label("cidata").is_err());
    }
}

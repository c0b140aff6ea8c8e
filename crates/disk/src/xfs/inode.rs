//! An inode until it is written.

use kiln_oci::{Meta, Mtime};

use super::raw::{INODE, put16, put32, put64, seal};

/// Where the forks of an inode start.
const FORKS: usize = 176;
/// Bytes of both forks.
pub(crate) const ROOM: usize = INODE - FORKS;
/// What is left for data at the least, and for attributes that are in blocks: trees of extents have to fit.
const LEAST_DATA: usize = 56;
const LEAST_ATTRS: usize = 40;
/// The most names a file can have.
pub(crate) const MAX_LINKS: u32 = i32::MAX as u32;

/// How a fork has what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub(crate) enum Format {
    Device = 0,
    /// All in the inode.
    Local = 1,
    #[default]
    Extents = 2,
    Tree = 3,
}

/// Attributes as the inode has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attrs {
    pub bytes: Vec<u8>,
    /// How many extents that is; none for attributes that are all in the inode.
    pub extents: u16,
}

impl Attrs {
    /// The most bytes of attributes that can be in an inode.
    pub const MOST: usize = ROOM - LEAST_DATA;
}

/// An inode until it is written.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Mtime,
    pub size: u64,
    pub links: u32,
    pub flags: u16,
    /// Blocks it takes with all that belongs to it.
    pub blocks: u64,
    pub format: Format,
    /// How many extents the data has.
    pub extents: u32,
    pub data: Vec<u8>,
    pub attrs: Attrs,
}

impl Inode {
    pub fn new(kind: u16, meta: &Meta) -> Inode {
        Inode {
            mode: kind | (meta.mode & 0o7777) as u16,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
            size: 0,
            links: 1,
            flags: 0,
            blocks: 0,
            format: Format::Extents,
            extents: 0,
            data: Vec::new(),
            attrs: Attrs::default(),
        }
    }

    /// Bytes there are for the data's fork.
    pub fn room(&self) -> usize {
        match self.attrs.bytes.len() {
            0 => ROOM,
            _ if self.format == Format::Device => 8,
            len => (ROOM - len.max(LEAST_ATTRS).next_multiple_of(8)).max(LEAST_DATA),
        }
    }

    /// As it is on disk. `made` is when everything was made or changed last; `big` times are those beyond 2038.
    pub fn bytes(&self, ino: u64, uuid: [u8; 16], made: Mtime, big: bool) -> [u8; INODE] {
        let time = if big { time } else { short_time };
        let mut b = free(ino, uuid);
        put16(&mut b, 2, self.mode);
        b[5] = self.format as u8;
        put32(&mut b, 8, self.uid);
        put32(&mut b, 12, self.gid);
        put32(&mut b, 16, self.links);
        for (at, value) in [(32, self.mtime), (40, self.mtime), (48, made), (144, made)] {
            put64(&mut b, at, time(value));
        }
        put64(&mut b, 56, self.size);
        put64(&mut b, 64, self.blocks);
        put32(&mut b, 76, self.extents);
        put16(&mut b, 80, self.attrs.extents);
        b[83] = Format::Extents as u8;
        put16(&mut b, 90, self.flags);
        // A change counter that starts at one, and times of 64 bits.
        put64(&mut b, 104, 1);
        put64(&mut b, 120, if big { 8 } else { 0 });
        b[FORKS..FORKS + self.data.len()].copy_from_slice(&self.data);
        if !self.attrs.bytes.is_empty() {
            let fork = self.room();
            b[82] = (fork / 8) as u8;
            b[83] = if self.attrs.extents == 0 { Format::Local } else { Format::Extents } as u8;
            b[FORKS + fork..FORKS + fork + self.attrs.bytes.len()].copy_from_slice(&self.attrs.bytes);
        }
        seal(&mut b, 100);
        b
    }
}

/// An inode that is not used, still without its checksum.
fn free(ino: u64, uuid: [u8; 16]) -> [u8; INODE] {
    let mut b = [0; INODE];
    put16(&mut b, 0, 0x494E);
    b[4] = 3;
    put32(&mut b, 96, u32::MAX);
    put64(&mut b, 152, ino);
    b[160..176].copy_from_slice(&uuid);
    b
}

/// An inode that is not used.
pub(crate) fn unused(ino: u64, uuid: [u8; 16]) -> [u8; INODE] {
    let mut b = free(ino, uuid);
    seal(&mut b, 100);
    b
}

/// Nanoseconds since December 1901. Times that cannot be stored become the nearest that can.
fn time(time: Mtime) -> u64 {
    const BEFORE: i64 = 1 << 31;
    const MOST: i64 = ((u64::MAX / 1_000_000_000) & !3) as i64;
    let secs = time.secs.clamp(-BEFORE, MOST - BEFORE) + BEFORE;
    let nanos = if secs - BEFORE == time.secs { u64::from(time.nanos) } else { 0 };
    secs as u64 * 1_000_000_000 + nanos
}

/// Seconds of 32 bits since 1970, and nanoseconds. Times that cannot be stored become the nearest that can.
fn short_time(time: Mtime) -> u64 {
    let secs = i32::try_from(time.secs).unwrap_or(if time.secs < 0 { i32::MIN } else { i32::MAX });
    let nanos = if i64::from(secs) == time.secs { time.nanos } else { 0 };
    u64::from(secs as u32) << 32 | u64::from(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_within_what_can_be_stored() {
        assert_eq!(time(Mtime { secs: 0, nanos: 7 }), (1 << 31) * 1_000_000_000 + 7);
        assert_eq!(time(Mtime { secs: i64::MIN, nanos: 7 }), 0);
        assert_eq!(time(Mtime { secs: i64::MAX, nanos: 7 }), time(Mtime { secs: 16_299_260_424, nanos: 0 }));
    }

    #[test]
    fn times_of_32_bits_are_the_nearest_that_there_are() {
        assert_eq!(short_time(Mtime { secs: 5, nanos: 7 }), 5 << 32 | 7);
        assert_eq!(short_time(Mtime { secs: -1, nanos: 7 }), 0xFFFF_FFFF << 32 | 7);
        assert_eq!(short_time(Mtime { secs: 1 << 40, nanos: 7 }), 0x7FFF_FFFF << 32);
        assert_eq!(short_time(Mtime { secs: i64::MIN, nanos: 7 }), 0x8000_0000 << 32);
    }

    #[test]
    fn forks_share_the_room() {
        let mut inode = Inode::new(0x8000, &Meta::mode(0o644));
        assert_eq!(inode.room(), 336);
        inode.attrs.bytes = vec![1; Attrs::MOST];
        assert_eq!(inode.room(), 56);
        inode.attrs.bytes = vec![1; 16];
        assert_eq!(inode.room(), 296);
        inode.format = Format::Device;
        assert_eq!(inode.room(), 8);
    }
}

//! Numbers as they are on disk: little-endian fields at offsets, and the bits that name features and kinds.

/// The name errors use for this file system.
pub(crate) const FORMAT: &str = "ext4 file system";

pub(crate) const SUPER_OFFSET: u64 = 1024;
pub(crate) const SUPER_SIZE: usize = 1024;
pub(crate) const SUPER_MAGIC: u16 = 0xEF53;

pub(crate) const ROOT_INO: u32 = 2;
pub(crate) const RESIZE_INO: u32 = 7;
pub(crate) const JOURNAL_INO: u32 = 8;
pub(crate) const LOST_FOUND_INO: u32 = 11;

/// Features an old kernel may ignore.
pub(crate) mod compat {
    pub const HAS_JOURNAL: u32 = 0x4;
    pub const EXT_ATTR: u32 = 0x8;
    pub const RESIZE_INODE: u32 = 0x10;
    pub const DIR_INDEX: u32 = 0x20;
}

/// Features without which nothing can be read.
pub(crate) mod incompat {
    pub const FILETYPE: u32 = 0x2;
    pub const RECOVER: u32 = 0x4;
    pub const META_BG: u32 = 0x10;
    pub const EXTENTS: u32 = 0x40;
    pub const BIT64: u32 = 0x80;
    pub const MMP: u32 = 0x100;
    pub const FLEX_BG: u32 = 0x200;
    pub const EA_INODE: u32 = 0x400;
    pub const CSUM_SEED: u32 = 0x2000;
    pub const LARGE_DIR: u32 = 0x4000;
    pub const INLINE_DATA: u32 = 0x8000;
}

/// Features without which nothing can be written.
pub(crate) mod ro_compat {
    pub const SPARSE_SUPER: u32 = 0x1;
    pub const LARGE_FILE: u32 = 0x2;
    pub const HUGE_FILE: u32 = 0x8;
    pub const DIR_NLINK: u32 = 0x20;
    pub const EXTRA_ISIZE: u32 = 0x40;
    pub const BIGALLOC: u32 = 0x200;
    pub const METADATA_CSUM: u32 = 0x400;
}

/// What `i_flags` says.
pub(crate) mod iflags {
    pub const INDEX: u32 = 0x1000;
    pub const EXTENTS: u32 = 0x8_0000;
    pub const ENCRYPT: u32 = 0x800;
    pub const EA_INODE: u32 = 0x20_0000;
    pub const INLINE_DATA: u32 = 0x1000_0000;
    pub const CASEFOLD: u32 = 0x4000_0000;
}

/// The file type in `i_mode`.
pub(crate) mod mode {
    pub const TYPE: u16 = 0xF000;
    pub const FIFO: u16 = 0x1000;
    pub const CHAR: u16 = 0x2000;
    pub const DIR: u16 = 0x4000;
    pub const BLOCK: u16 = 0x6000;
    pub const FILE: u16 = 0x8000;
    pub const SYMLINK: u16 = 0xA000;
    pub const SOCKET: u16 = 0xC000;
}

pub(crate) const EXTENT_MAGIC: u16 = 0xF30A;
pub(crate) const XATTR_MAGIC: u32 = 0xEA02_0000;

/// A field of a structure; zero where the structure ends before it.
pub(crate) fn get16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

/// A field of a structure; zero where the structure ends before it.
pub(crate) fn get32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

/// A big-endian field, as the journal has them; zero where the structure ends before it.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    get32(bytes, at).swap_bytes()
}

/// Two halves of a 64-bit field.
pub(crate) fn get_split(bytes: &[u8], lo: usize, hi: usize) -> u64 {
    u64::from(get32(bytes, lo)) | (u64::from(get32(bytes, hi)) << 32)
}

pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// The lower and the upper half of a number.
pub(crate) fn halves(value: u64) -> (u32, u32) {
    ((value & 0xFFFF_FFFF) as u32, (value >> 32) as u32)
}

/// The lower and the upper half of a number.
pub(crate) fn halves32(value: u32) -> (u16, u16) {
    ((value & 0xFFFF) as u16, (value >> 16) as u16)
}

/// The namespaces of extended attributes that have a number, longest prefix first.
pub(crate) const XATTR_PREFIXES: [(u8, &[u8]); 7] = [
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (8, b"system.richacl"),
    (4, b"trusted."),
    (6, b"security."),
    (7, b"system."),
    (1, b"user."),
];

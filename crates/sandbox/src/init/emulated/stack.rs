//! The stack a program starts with: arguments, environment, and what the kernel tells it.

use rustix::io::Errno;

use super::image::Placed;
use super::memory::Memory;
use super::stub::{self, Op};

/// More words than the kernel takes in arguments and environment.
const MAX_WORDS: usize = 8 << 20;
/// Words read at once.
const PIECE: usize = 512;

/// Entries of the kernel's vector.
mod told {
    pub const END: u64 = 0;
    pub const TABLE: u64 = 3;
    pub const ENTRY_SIZE: u64 = 4;
    pub const ENTRIES: u64 = 5;
    pub const BASE: u64 = 7;
    pub const ENTRY: u64 = 9;
    pub const UID: u64 = 11;
    pub const EUID: u64 = 12;
    pub const GID: u64 = 13;
    pub const EGID: u64 = 14;
    pub const SECURE: u64 = 23;
    pub const PATH: u64 = 31;
}

/// What a program is to find.
pub struct Wanted<'a> {
    pub program: Placed,
    pub interpreter: Option<Placed>,
    /// What comes in place of the first argument: of a script its interpreter, that one's argument, and the script.
    pub prefix: &'a [Vec<u8>],
    /// The path it was executed by.
    pub path: &'a [u8],
    /// What the process is called.
    pub name: &'a [u8],
    /// User and group, real and effective.
    pub ids: [u32; 4],
}

/// As the kernel has left it for the stub.
struct Found {
    arguments: Vec<u64>,
    environment: Vec<u64>,
    vector: Vec<(u64, u64)>,
}

/// Reads words from the stack, as many at a time as there may be.
struct Words<'a> {
    memory: &'a Memory,
    at: u64,
    ready: std::vec::IntoIter<u64>,
    left: usize,
}

impl Words<'_> {
    fn next(&mut self) -> Result<u64, Errno> {
        if let Some(word) = self.ready.next() {
            return Ok(word);
        }
        self.left = self.left.checked_sub(PIECE).ok_or(Errno::TOOBIG)?;
        let bytes = self.memory.some(self.at, PIECE * 8)?;
        let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        self.at += words.len() as u64 * 8;
        self.ready = words.into_iter();
        self.ready.next().ok_or(Errno::FAULT)
    }

    fn until_null(&mut self) -> Result<Vec<u64>, Errno> {
        let mut found = Vec::new();
        loop {
            match self.next()? {
                0 => return Ok(found),
                word => found.push(word),
            }
        }
    }
}

fn read(memory: &Memory, stack: u64) -> Result<Found, Errno> {
    let mut words = Words { memory, at: stack, ready: Vec::new().into_iter(), left: MAX_WORDS };
    words.next()?;
    let (arguments, environment) = (words.until_null()?, words.until_null()?);
    let mut vector = Vec::new();
    loop {
        match (words.next()?, words.next()?) {
            (told::END, _) => return Ok(Found { arguments, environment, vector }),
            entry => vector.push(entry),
        }
    }
}

/// Texts on their way to the stack.
struct Texts {
    bytes: Vec<u8>,
    at: u64,
}

impl Texts {
    fn put(&mut self, text: &[u8]) -> u64 {
        let address = self.at + self.bytes.len() as u64;
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
        address
    }
}

/// Writes the program's stack below the one at `stack`, and below that what the stub has to do, which begins with
/// `ops`. Returns where that begins.
pub fn build(memory: &Memory, stack: u64, wanted: &Wanted<'_>, mut ops: Vec<Op>) -> Result<u64, Errno> {
    let found = read(memory, stack)?;
    let room = wanted.prefix.iter().map(Vec::len).sum::<usize>() + wanted.path.len() + wanted.name.len() + 64;
    let texts_at = (stack - room as u64) & !15;
    let mut texts = Texts { bytes: Vec::new(), at: texts_at };
    let mut arguments: Vec<u64> = wanted.prefix.iter().map(|text| texts.put(text)).collect();
    let replaced = usize::from(!wanted.prefix.is_empty());
    arguments.extend(found.arguments.iter().skip(replaced));
    let path = texts.put(wanted.path);
    ops.push(stub::name(texts.put(wanted.name)));
    let mut block = vec![arguments.len() as u64];
    block.extend(arguments.into_iter().chain([0]).chain(found.environment).chain([0]));
    for (kind, value) in found.vector {
        block.extend([kind, changed(kind, value, wanted, path)]);
    }
    block.extend([told::END, 0]);
    let block_at = (texts_at - block.len() as u64 * 8) & !15;
    let entry = wanted.interpreter.map_or(wanted.program.entry, |interpreter| interpreter.entry);
    ops.push(stub::start(block_at, entry));
    let ops_at = block_at - ops.len() as u64 * 64;
    memory.write(texts_at, &texts.bytes)?;
    memory.write(block_at, &bytes(&block))?;
    memory.write(ops_at, &bytes(ops.as_flattened()))?;
    Ok(ops_at)
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn changed(kind: u64, value: u64, wanted: &Wanted<'_>, path: u64) -> u64 {
    let [uid, euid, gid, egid] = wanted.ids.map(u64::from);
    match kind {
        told::TABLE => wanted.program.table,
        told::ENTRY_SIZE => 56,
        told::ENTRIES => wanted.program.entries,
        told::BASE => wanted.interpreter.map_or(0, |interpreter| interpreter.base),
        told::ENTRY => wanted.program.entry,
        told::UID => uid,
        told::EUID => euid,
        told::GID => gid,
        told::EGID => egid,
        told::SECURE => u64::from(uid != euid || gid != egid),
        told::PATH => path,
        _ => value,
    }
}

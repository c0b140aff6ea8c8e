//! Memory of another process, through its file in `/proc`: the filters of pods forbid `process_vm_readv`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

/// As long as a path may be, with its end.
pub const MAX_PATH: usize = 4096;
const PAGE: u64 = 4096;

/// The memory a process has now. It is another one after it has become another program.
#[derive(Debug)]
pub struct Memory(File);

fn errno(error: &std::io::Error) -> Errno {
    match Errno::from_io_error(error) {
        // The kernel's word for "nothing is there" to who reads the file.
        None | Some(Errno::IO | Errno::INVAL) => Errno::FAULT,
        Some(errno) => errno,
    }
}

impl Memory {
    /// That of a process.
    pub fn of(process: u32) -> Result<Memory, Errno> {
        let file = File::options().read(true).write(true).open(format!("/proc/{process}/mem"));
        Ok(Memory(file.map_err(|error| errno(&error))?))
    }

    /// Fills all of `buffer`.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        self.0.read_exact_at(buffer, address).map_err(|_| Errno::FAULT)
    }

    /// As much as is there, up to `length`; at least one byte.
    pub fn some(&self, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; length];
        let got = self.0.read_at(&mut buffer, address).map_err(|error| errno(&error))?;
        buffer.truncate(got);
        if got == 0 { Err(Errno::FAULT) } else { Ok(buffer) }
    }

    /// Writes all of `bytes`.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.0.write_all_at(bytes, address).map_err(|_| Errno::FAULT)
    }

    /// The text at an address, which is a path or a name.
    pub fn text(&self, mut address: u64) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        while text.len() < MAX_PATH {
            // Beyond the page there may be nothing.
            let room = usize::try_from(PAGE - address % PAGE).unwrap_or(1).min(MAX_PATH - text.len());
            let piece = self.some(address, room.min(if text.is_empty() { 256 } else { MAX_PATH }))?;
            if let Some(end) = piece.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&piece[..end]);
                return Ok(text);
            }
            text.extend_from_slice(&piece);
            address = address.checked_add(piece.len() as u64).ok_or(Errno::FAULT)?;
        }
        Err(Errno::NAMETOOLONG)
    }

    /// Numbers of eight bytes.
    pub fn words<const N: usize>(&self, address: u64) -> Result<[u64; N], Errno> {
        let mut bytes = vec![0; N * 8];
        self.read(address, &mut bytes)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_words_are_read_and_written() {
        let memory = Memory::of(std::process::id()).unwrap();
        let text = c"some/path";
        assert_eq!(memory.text(text.as_ptr().expose_provenance() as u64).unwrap(), b"some/path");
        let mut words = [7_u64, 8];
        let address = words.as_mut_ptr().expose_provenance() as u64;
        assert_eq!(memory.words::<2>(address).unwrap(), [7, 8]);
        memory.write(address + 8, &9_u64.to_ne_bytes()).unwrap();
        assert_eq!(std::hint::black_box(&mut words)[1], 9);
        for nowhere in [0, 8, u64::MAX, u64::MAX - 4096, 1 << 60] {
            assert!(memory.text(nowhere).is_err() && memory.write(nowhere, b"x").is_err(), "{nowhere:x}");
        }
    }
}

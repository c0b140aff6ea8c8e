//! The one program that the kernel itself executes: it maps the real one, by a list that was put on its stack.
//!
//! It lies in memory, in a file without a name. What it becomes after that it is told by [`Op`]s; it needs no stack
//! and no memory of its own, and is never run again in the same process.

use std::ffi::CString;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// What makes a process that runs the stub become it again, by the address of this text in it.
const ITSELF: &[u8] = b"/proc/self/exe\0";

const HEADERS: usize = 64 + 2 * 56;

/// Machine code for x86-64: `rbx` points to operations of eight words, the number of a call and its arguments. What
/// `openat` returns is the descriptor of `mmap` and `close` after it.
///
/// ```text
/// loop:  mov rax,[rbx]; mov rdi,[rbx+8]; mov rsi,[rbx+16]
///        cmp rax,-1; je done; cmp rax,-2; je zero
///        mov rdx,[rbx+24]; mov r10,[rbx+32]; mov r8,r12; mov r9,[rbx+48]
///        cmp rax,3; cmove rdi,r12; syscall; cmp rax,-4096; ja fail
///        cmp qword [rbx],257; cmove r12,rax
/// next:  add rbx,64; jmp loop
/// zero:  mov rcx,rsi; xor eax,eax; rep stosb; jmp next
/// done:  mov rsp,rdi; all others to 0; jmp rsi
/// fail:  hlt
/// ```
const CODE: [u8; 115] = [
    0x48, 0x8b, 0x03, 0x48, 0x8b, 0x7b, 0x08, 0x48, 0x8b, 0x73, 0x10, 0x48, 0x83, 0xf8, 0xff, 0x74, 0x41, 0x48, 0x83,
    0xf8, 0xfe, 0x74, 0x32, 0x48, 0x8b, 0x53, 0x18, 0x4c, 0x8b, 0x53, 0x20, 0x4d, 0x89, 0xe0, 0x4c, 0x8b, 0x4b, 0x30,
    0x48, 0x83, 0xf8, 0x03, 0x49, 0x0f, 0x44, 0xfc, 0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0x77, 0x3a, 0x48,
    0x81, 0x3b, 0x01, 0x01, 0x00, 0x00, 0x4c, 0x0f, 0x44, 0xe0, 0x48, 0x83, 0xc3, 0x40, 0xeb, 0xb7, 0x48, 0x89, 0xf1,
    0x31, 0xc0, 0xf3, 0xaa, 0xeb, 0xf1, 0x48, 0x89, 0xfc, 0x31, 0xc0, 0x31, 0xdb, 0x31, 0xc9, 0x31, 0xd2, 0x31, 0xff,
    0x31, 0xed, 0x45, 0x31, 0xc0, 0x45, 0x31, 0xc9, 0x45, 0x31, 0xd2, 0x45, 0x31, 0xdb, 0x45, 0x31, 0xe4, 0xff, 0xe6,
    0xf4,
];

/// Something the stub does: the number of a call, and its arguments.
pub type Op = [u64; 8];

/// Opens what it is given next.
pub const OPEN: Op = [257, 0, 0, 0, 0, 0, 0, 0];
/// Closes it.
pub const CLOSE: Op = [3, 0, 0, 0, 0, 0, 0, 0];

/// Maps memory; `flags` decide whether it is that of the file that was opened last.
pub fn map(address: u64, length: u64, protection: u64, flags: u64, offset: u64) -> Op {
    [9, address, length, protection, flags, 0, offset, 0]
}

/// Sets the name of the process.
pub fn name(text: u64) -> Op {
    [157, 15, text, 0, 0, 0, 0, 0]
}

/// Fills memory with zeros.
pub fn zero(address: u64, length: u64) -> Op {
    [2_u64.wrapping_neg(), address, length, 0, 0, 0, 0, 0]
}

/// Starts the program, with this stack.
pub fn start(stack: u64, entry: u64) -> Op {
    [u64::MAX, stack, entry, 0, 0, 0, 0, 0]
}

/// Where the text that names the stub is, in a process that has just begun to run it at `instruction`.
pub fn name_of_itself(instruction: u64) -> u64 {
    instruction + CODE.len() as u64
}

/// The file, which nobody can change.
pub fn make() -> std::io::Result<OwnedFd> {
    let memory = memfd_create("kiln-stub", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&program())?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

/// The path by which a process with this descriptor executes it.
pub fn path(descriptor: i32) -> CString {
    CString::new(format!("/proc/self/fd/{descriptor}")).unwrap_or_default()
}

/// A position-independent program with one readable segment and a stack that cannot be executed.
fn program() -> Vec<u8> {
    let length = (HEADERS + CODE.len() + ITSELF.len()) as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    for half in [3_u16, 62] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1_u32.to_le_bytes());
    for word in [HEADERS as u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for (kind, flags, size, align) in [(1_u32, 5_u32, length, 4096_u64), (0x6474_e551, 6, 0, 16)] {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        for word in [0, 0, 0, size, size, align] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes.extend(CODE);
    bytes.extend(ITSELF);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_says_where_it_begins() {
        let bytes = program();
        assert_eq!(bytes.len(), HEADERS + CODE.len() + ITSELF.len());
        assert_eq!(bytes[HEADERS..HEADERS + 3], CODE[..3]);
        assert!(bytes.ends_with(ITSELF));
    }
}

//! The first process of a machine, as a small static program that is part of this binary.
//!
//! It has two lives: in an initramfs it loads modules, finds the root file system and hands over; in a machine with one
//! application it mounts, brings up the network, runs the application, reaps, and powers off with its exit status. Its
//! source is in `src/program`: `build.rs` compiles it, for it is a program without any library. What it decides without a
//! kernel is in [`guest`], which is compiled into this library too. Beside `kiln-sandbox`, that program is the only place
//! with `unsafe`: none of it is in Kiln itself.
//!
//! [`program`] its bytes     [`cpio`] an initramfs, as the kernel reads it     [`modules`] which modules, in which order
//! [`initramfs`] the whole archive of a disk, and what one of an application has beside the image
//! [`kernel`] whether a file is a kernel, and which
//!
//! Adding a word of the kernel's command line: `guest/words.rs`, then `program/root.rs` or `program/app.rs`.
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cpio;
mod error;
pub mod guest;
pub mod initramfs;
pub mod kernel;
pub mod modules;

pub use error::{InitError, Result};

/// The program, a static executable for x86-64.
static PROGRAM: &[u8] = include_bytes!(env!("KILN_FIRST"));

/// The program for machines of an architecture, as Rust names it; none for those that have none yet.
pub fn program(architecture: &str) -> Option<&'static [u8]> {
    (architecture == "x86_64" && !PROGRAM.is_empty()).then_some(PROGRAM)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::guest::{address, application, dhcp, probe, table, words};
    use super::*;

    /// A disk for what reads disks.
    fn at(disk: &[u8]) -> impl FnMut(u64, &mut [u8]) -> bool {
        move |at, into| {
            let part = usize::try_from(at).ok().and_then(|at| disk.get(at..)?.get(..into.len()));
            part.is_some_and(|part| {
                into.copy_from_slice(part);
                true
            })
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        // The first process must not fall over whatever it reads: there is nobody to start it again.
        #[test]
        fn nothing_makes_it_fall_over(mut bytes in prop::collection::vec(any::<u8>(), 0..700), text in ".{0,200}") {
            let client = dhcp::Client { card: [1; 6], conversation: 7, hostname: String::new() };
            let mut packet = client.discover();
            packet[0] = 2;
            packet.splice(240.., bytes.iter().copied());
            let _ = client.answer(&packet);
            let _ = client.answer(&bytes);
            let _ = application::Application::read(&[b"kiln-application 1\n", &*bytes].concat());
            let _ = (words::parse(&text), address::addressing(&text), probe::Wanted::parse(&text));
            let _ = (kernel::version(&bytes), probe::superblock(&mut at(&bytes)));
            let wanted = probe::Wanted::PartitionLabel(text);
            bytes.splice(0..0, [0; 512].into_iter().chain(*b"EFI PART"));
            let _ = table::partition(&mut at(&bytes), &wanted);
        }
    }

    #[test]
    fn the_program_is_small_static_and_of_one_piece() {
        let program = program("x86_64").unwrap();
        assert!(program.len() < 100 << 10, "{} bytes", program.len());
        assert_eq!(&program[..5], b"\x7fELF\x02");
        // An executable that is loaded where it says (ET_EXEC), for x86-64.
        assert_eq!(program[16..20], [2, 0, 62, 0]);
        let half = |at: usize| usize::from(u16::from_le_bytes([program[at], program[at + 1]]));
        let table = usize::try_from(u64::from_le_bytes(program[32..40].try_into().unwrap())).unwrap();
        for index in 0..half(56) {
            let at = table + index * half(54);
            // Neither an interpreter nor anything that would have to be linked.
            assert!(![2, 3].contains(&program[at]), "segment {index} is of kind {}", program[at]);
        }
        assert!(super::program("aarch64").is_none());
    }
}

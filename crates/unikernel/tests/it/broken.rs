//! Files that lie, end too early, or are something else: each refused with its reason and its place.

use std::io::Cursor;

use kiln_testkit::kernels::{self, Elf};
use kiln_unikernel::recognise;

#[track_caller]
fn why(bytes: impl AsRef<[u8]>) -> String {
    recognise(&mut Cursor::new(bytes.as_ref())).unwrap_err().to_string()
}

/// The same file with other bytes somewhere.
fn patched(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// Header of the first segment in a 64-bit file: offset at 8, addresses at 16 and 24, sizes at 32 and 40.
const SEGMENT: usize = 64;

#[test]
fn other_files_are_told_apart() {
    assert_eq!(why(b""), "it is no kernel: it is empty");
    assert!(why([0x1f, 0x8b, 8, 0]).contains("it is compressed"));
    assert!(why(b"#!/bin/sh\n").contains("a script"));
    assert!(why(b"QFI\xfb\0\0\0\x03").contains("qcow2"));
    assert!(why(b"MZ\x90\0").contains("UEFI"));
    assert!(why(vec![7; 4096]).contains("neither an ELF file"));
    // A disk, but not OSv's.
    assert!(why(patched(kernels::osv_disk("/x"), 0x1b8, b"abcd")).contains("no disk of OSv's"));
    // A program of this machine.
    let program = Elf::new().section(".text", b"").build();
    assert!(why(program).contains("no monitor knows how to enter"));
    let mut arm = kernels::pvh(&[0xf4]);
    arm.machine = 8;
    assert!(why(arm.build()).contains("ELF number 8 machines"));
    let file = kernels::pvh(&[0xf4]).build();
    assert!(why(patched(file.clone(), 16, &[1, 0])).contains("not linked yet"));
    assert!(why(patched(file.clone(), 16, &[4, 0])).contains("crashed program"));
    assert!(why(patched(file.clone(), 16, &[9, 0])).contains("byte 16: 9 is no type"));
    assert!(why(patched(file.clone(), 4, &[3])).contains("byte 4: 3 is no class"));
    assert!(why(patched(file, 5, &[2])).contains("big-endian"));
}

#[test]
fn what_is_cut_off_anywhere_is_refused() {
    let whole = kernels::solo5(1, &[("service", 2)]).section(".text", b"abc").build();
    for length in 0..whole.len() {
        let why = why(&whole[..length]);
        assert!(why.contains("cut off") || why.contains("it is no kernel"), "{length}: {why}");
    }
    let linux = kernels::bz_image("6.1.0");
    assert!(why(&linux[..2000]).contains("its Linux header: it is cut off"));
}

#[test]
fn segments_that_cannot_be_are_refused() {
    let file = kernels::pvh(&[0xf4; 32]).build();
    let number = |value: u64| value.to_le_bytes();
    assert!(
        why(patched(file.clone(), SEGMENT + 8, &number(1 << 40))).contains("segment 0 (header at byte 64) would be")
    );
    assert!(why(patched(file.clone(), SEGMENT + 8, &number(u64::MAX))).contains("cut off"));
    assert!(why(patched(file.clone(), SEGMENT + 32, &number(u64::MAX))).contains("cut off"));
    assert!(why(patched(file.clone(), SEGMENT + 40, &number(8))).contains("32 bytes of the file into 8 of memory"));
    assert!(why(patched(file.clone(), SEGMENT + 24, &number(u64::MAX - 3))).contains("beyond all memory"));
    assert!(why(patched(file.clone(), 24, &number(0xdead))).contains("its entry point: 0xdead is in none"));
    assert!(why(patched(file.clone(), 56, &[0xff, 0xff])).contains("65535 segments; kernels have at most 256"));
    assert!(why(patched(file.clone(), 56, &[0, 0])).contains("it has no segments"));
    assert!(why(patched(file.clone(), 54, &[55, 0])).contains("each would have 55 bytes"));
    assert!(why(patched(file.clone(), 32, &number(u64::MAX))).contains("the table of its segments"));
    // The note becomes a second piece of memory in the place of the first.
    let overlapping = patched(patched(file.clone(), SEGMENT + 56, &[1]), SEGMENT + 56 + 24, &number(0x10_0004));
    assert!(
        why(overlapping)
            .contains("its segments overlap in memory: one ends at 0x100020, and the next begins at 0x100004")
    );
    assert!(why(patched(file, SEGMENT, &[2])).contains("nothing of it is put into memory"));
}

#[test]
fn tables_of_sections_that_cannot_be_are_refused() {
    let file = kernels::osv().build();
    assert!(why(patched(file.clone(), 40, &u64::MAX.to_le_bytes())).contains("the table of its sections"));
    assert!(why(patched(file.clone(), 60, &[0xff, 0xff])).contains("65535 sections; kernels have at most 65000"));
    assert!(why(patched(file.clone(), 60, &[0, 0])).contains("sections; kernels have at most"));
    assert!(why(patched(file.clone(), 58, &[1, 0])).contains("each would have 1 bytes"));
    assert!(why(patched(file.clone(), 62, &[99, 0])).contains("they are in section 99"));
    let table = usize::try_from(u64::from_le_bytes(file[40..48].try_into().unwrap())).unwrap();
    assert!(why(patched(file.clone(), table + 64, &[0xff; 4])).contains("section 1: its name would be at 4294967295"));
    assert!(why(patched(file.clone(), table + 64 + 32, &[0xff; 8])).contains("section 1 would be"));
}

#[test]
fn notes_that_do_not_end_are_told_with_their_place() {
    let note = |name: u32, value: u32| [name.to_le_bytes(), value.to_le_bytes(), [9, 0, 0, 0]].concat();
    let with = |bytes: &[u8]| why(kernels::pvh(&[0xf4]).raw_note(bytes).build());
    let told = with(&note(u32::MAX, 0));
    assert!(told.contains("its name would have 4294967295 bytes, and 12 are left"), "{told}");
    assert!(told.starts_with("the note at byte "), "{told}");
    assert!(with(&note(0, u32::MAX)).contains("its value would have 4294967295 bytes"));
    assert!(with(&[note(4, 8), b"abc\0".to_vec()].concat()).contains("its value would have 8 bytes"));
    let short = Elf::new().note("Xen", 18, &[1, 2]).build();
    assert!(why(short).contains("an address has 4 or 8 bytes, and this 2"));
    assert!(why(Elf::new().note("HERMIT", 0x5a00, &[]).build()).contains("must say a version"));
}

#[test]
fn notes_of_solo5_that_are_wrong_are_told() {
    let kind = |name: &[u8; 4]| u32::from_le_bytes(*name);
    let both = |abi: &[u8], manifest: &[u8]| {
        let elf = Elf::new().note("Solo5", kind(b"ABI1"), abi).note("Solo5", kind(b"MFT1"), manifest);
        why(elf.build())
    };
    let (abi, manifest) = (kernels::abi(1), kernels::manifest(&[("service", 2)]));
    assert!(why(Elf::new().note("Solo5", kind(b"ABI1"), &abi).build()).contains("not the manifest (MFT1)"));
    assert!(why(Elf::new().note("Solo5", kind(b"MFT1"), &manifest).build()).contains("not the target (ABI1)"));
    assert!(both(&abi[..8], &manifest).contains("Solo5's note ABI1 at byte"));
    assert!(both(&kernels::abi(0), &manifest).contains("0 is the number of no target"));
    assert!(both(&kernels::abi(77), &manifest).contains("77 is the number of no target"));
    assert!(both(&abi, &manifest[..6]).contains("a manifest's head alone has 12"));
    assert!(both(&abi, &manifest[..100]).contains("it has 100 bytes, and 2 entries take 220"));
    assert!(both(&abi, &patched(manifest.clone(), 4, &[9])).contains("a manifest of version 9"));
    assert!(
        both(&abi, &patched(manifest.clone(), 8, &[0xff; 4]))
            .contains("4294967295 entries, and Solo5 takes at most 64")
    );
    assert!(both(&abi, &patched(manifest.clone(), 12 + 104 + 68, &[7])).contains("entry 1 is of type 7"));
    assert!(both(&abi, &patched(manifest.clone(), 12 + 104, b"a b")).contains("no name of letters and digits"));
    assert!(both(&abi, &patched(manifest, 12 + 104, &[b'a'; 68])).contains("no name of letters and digits"));
    let twice = kernels::manifest(&[("a", 1), ("a", 2)]);
    assert!(both(&abi, &twice).contains("two entries are called `a`"));
}

#[test]
fn no_byte_that_was_changed_is_more_than_an_error() {
    let all = [
        kernels::solo5(1, &[("service", 2)]).build(),
        kernels::unikraft("0.17.0").build(),
        kernels::osv().build(),
        kernels::rumprun().build(),
        kernels::vmlinux("6.1.0").build(),
        kernels::bz_image("6.1.0"),
        kernels::osv_disk("/hello"),
    ];
    let (mut good, mut bad) = (0, 0);
    for file in all {
        for at in 0..file.len().min(1400) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                match recognise(&mut Cursor::new(patched(file.clone(), at, &[value]))) {
                    Ok(kernel) => {
                        let _ = kernel.monitor();
                        good += 1;
                    }
                    Err(e) => {
                        assert!(!e.to_string().is_empty());
                        bad += 1;
                    }
                }
            }
        }
    }
    assert!(good > 100 && bad > 100, "{good} {bad}");
}

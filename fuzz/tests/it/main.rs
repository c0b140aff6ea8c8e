//! Every input that is kept in `corpus/` is handled as it should be.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use kiln_fuzz::{TARGETS, Target};

fn inputs(target: &Target) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&dir).expect("every target has a directory in corpus/").map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_is_handled() {
    let mut broken = Vec::new();
    for target in TARGETS {
        let files = inputs(target);
        assert!(!files.is_empty(), "corpus/{} is empty", target.name);
        for file in files {
            let bytes = fs::read(&file).unwrap();
            if catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))).is_err() {
                broken.push(file);
            }
        }
    }
    assert!(broken.is_empty(), "these inputs are handled wrongly: {broken:#?}");
}

/// The corpus is for people to clone: what a campaign finds is merged and minimised before it is kept.
#[test]
fn the_corpus_is_small() {
    let size: u64 = TARGETS.iter().flat_map(inputs).map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(size < 256 << 10, "the corpus has {size} bytes");
}

/// Inputs made from the corpus by simple means: cut, doubled, one byte changed. Cheap, and without a fuzzer.
#[test]
fn what_is_close_to_an_input_is_handled_too() {
    for target in TARGETS {
        for (seed, file) in inputs(target).iter().enumerate() {
            let bytes = fs::read(file).unwrap();
            for round in 0..8 {
                let mut near = bytes.clone();
                let at = (seed * 31 + round * 97) % near.len().max(1);
                match round % 4 {
                    0 => near.truncate(at),
                    1 => near.extend_from_slice(&bytes[at.min(bytes.len())..]),
                    _ if near.is_empty() => {}
                    2 => near[at] ^= 1 << (round % 8),
                    _ => near[at] = b"/\0\n.$\"%9"[round % 8],
                }
                let handled = catch_unwind(AssertUnwindSafe(|| (target.run)(&near)));
                assert!(handled.is_ok(), "{} {}: {:?}", target.name, file.display(), String::from_utf8_lossy(&near));
            }
        }
    }
}

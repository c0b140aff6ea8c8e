//! Damage, by chance and by intention: errors, never panics, never without an end.

use std::fs;
use std::time::{Duration, Instant};

use kiln_disk::ReadAt;
use kiln_disk::btrfs::Image;
use kiln_disk::fs::Fs;

use super::made::{MIB, mkfs, mount};
use super::refused::seal;
use crate::ext4::tree::noise;
use crate::reading;
use crate::tools::{run, text};

/// Reads all that can be read, also as a whole; how many entries and errors there were.
fn exhaust<R: ReadAt>(image: Image<R>) -> (usize, usize) {
    let as_a_whole = usize::from(image.layout().is_err());
    let (entries, errors) = reading::exhaust(&Fs::from(image));
    (entries, errors + as_a_whole)
}

/// A small image with something of everything, and the places of its nodes.
fn small(node: usize) -> (Vec<u8>, Vec<usize>) {
    let image = mkfs(&format!("-m single -n {node}"), 128 * MIB);
    let mounted = mount(&image, ",compress-force=lzo");
    let root = mounted.path();
    fs::create_dir(root.join("d")).unwrap();
    for n in 0..150 {
        fs::write(root.join(format!("d/name-{n}")), noise(n * 20, 3)).unwrap();
    }
    fs::write(root.join("packed"), b"some text, ".repeat(20_000)).unwrap();
    fs::write(root.join("inline"), b"some text, ".repeat(90)).unwrap();
    fs::hard_link(root.join("inline"), root.join("d/hard")).unwrap();
    std::os::unix::fs::symlink("x".repeat(80), root.join("link")).unwrap();
    rustix::fs::setxattr(root.join("packed"), "user.a", b"value", rustix::fs::XattrFlags::empty()).unwrap();
    run("btrfs", &["-q", "subvolume", "create", text(&root.join("sub"))]);
    fs::write(root.join("sub/file"), b"in it").unwrap();
    run("btrfs", &["-q", "subvolume", "snapshot", text(&root.join("sub")), text(&root.join("copy"))]);
    drop(mounted);
    let bytes = fs::read(image.path()).unwrap();
    let id = bytes[(64 << 10) + 0x20..][..16].to_vec();
    let nodes = (0..bytes.len() / 4096).map(|n| n * 4096).filter(|at| {
        *at != 64 << 10 && *at != 64 << 20 && at + node <= bytes.len() && bytes[at + 32..at + 48] == id[..]
    });
    let nodes: Vec<usize> = nodes.collect();
    assert!(nodes.len() > 10);
    (bytes, nodes)
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn changed_bytes_never_break_the_reader() {
    let rounds = std::env::var("KILN_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    for node in [4096, 16_384] {
        let (mut bytes, nodes) = small(node);
        let image = Image::open(&bytes[..]).unwrap();
        let (entries, errors) = exhaust(image);
        assert!(entries > 150 && errors == 0, "{entries} {errors}");
        let (mut state, mut noticed) = (7, 0);
        for round in 0..rounds {
            let seed = state;
            let mut before = Vec::new();
            for _ in 0..1 + random(&mut state) % 4 {
                let at = if random(&mut state).is_multiple_of(8) {
                    64 << 10
                } else {
                    nodes[random(&mut state) as usize % nodes.len()]
                };
                let len = if at == 64 << 10 { 4096 } else { node };
                before.push((at, bytes[at..at + len].to_vec()));
                for _ in 0..1 + random(&mut state) % 6 {
                    // Most of them where the items of a node begin.
                    let end = if random(&mut state).is_multiple_of(3) { len } else { 1000 };
                    let place = at + 48 + random(&mut state) as usize % (end - 48);
                    match random(&mut state) % 4 {
                        0 => bytes[place] ^= 1 << (random(&mut state) % 8),
                        1 => bytes[place] = random(&mut state) as u8,
                        2 => bytes[place] = 0,
                        _ => bytes[place] = 0xFF,
                    }
                }
                // With the right checksum what is in it is looked at.
                if !random(&mut state).is_multiple_of(10) {
                    seal(&mut bytes[at..at + len]);
                }
            }
            let start = Instant::now();
            noticed += match Image::open(&bytes[..]) {
                Ok(image) => exhaust(image).1,
                Err(_) => 1,
            };
            assert!(start.elapsed() < Duration::from_secs(60), "{node}: round {round}, seed {seed} takes too long");
            before.into_iter().rev().for_each(|(at, old)| bytes[at..at + old.len()].copy_from_slice(&old));
        }
        assert!(noticed > rounds / 20, "{node}: {noticed}");
    }
}

//! Codecs: the same bytes always, read back by us, limits kept.

use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::*;
use crate::layer::LayerError;
use crate::{Digest, LayerSink};

/// Text, noise and zeros in turn, the same on every machine.
fn sample(len: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(len + 64);
    while out.len() < len {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        match (out.len() >> 14) % 3 {
            0 => out.extend_from_slice(format!("/usr/share/doc/package-{:x}/copyright\n", seed % 4096).as_bytes()),
            1 => out.extend_from_slice(&seed.to_le_bytes()),
            _ => out.extend_from_slice(&[0; 40]),
        }
    }
    out.truncate(len);
    out
}

fn compress(input: &[u8], compression: Compression, threads: usize, chunk: usize) -> Vec<u8> {
    let mut c = Compressor::new(Vec::new(), compression, threads);
    input.chunks(chunk).for_each(|part| c.write_all(part).unwrap());
    c.finish().unwrap()
}

fn expand(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    decompress(detect(bytes).unwrap(), bytes, None).read_to_end(&mut out).unwrap();
    out
}

const GZIP: Compression = Compression::Gzip { level: 6 };
const ZSTD: Compression = Compression::Zstd { level: 3 };
const SIZES: [usize; 4] = [0, 1000, BLOCK, 9 * BLOCK + 77];

/// Published layers must not change: a new digest here means every cached and pushed layer is made again.
#[test]
fn golden_digests() {
    let golden = |compression| {
        let hex = SIZES.map(|size| Digest::of(&compress(&sample(size), compression, 2, 4096)).short());
        hex.join(" ")
    };
    let got = [
        Compression::None,
        Compression::Gzip { level: 1 },
        GZIP,
        Compression::Gzip { level: 9 },
        Compression::Zstd { level: 1 },
        ZSTD,
    ]
    .map(golden);
    let want = [
        "e3b0c44298fc ed52261e8913 4241feafb9f7 0cf67b61af3b",
        "ac73670af3ab d4acb5933069 8d5ef11c01c2 f1d1fbea161b",
        "ac73670af3ab f291173c2821 982035421b83 723d08ebbc81",
        "ac73670af3ab 01d1183d628c aa862428b65f c6f0d03f3ea4",
        "f96deff18160 bf70d8167273 291d7d9902ee c33d4484fb88",
        "f96deff18160 67da863e1ebd 24b532b415c8 387b696f39e8",
    ];
    assert_eq!(got, want);
}

#[test]
fn threads_and_the_cut_of_writes_do_not_show() {
    for size in [BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 77] {
        let input = sample(size);
        for compression in [GZIP, ZSTD, Compression::None] {
            let want = compress(&input, compression, 1, 1 << 16);
            assert_eq!(expand_as(&want, compression), input);
            for (threads, chunk) in [(1, 777), (2, 1 << 20), (4, 5000), (0, usize::MAX), (3, 3 << 20)] {
                assert!(
                    compress(&input, compression, threads, chunk) == want,
                    "{compression:?} {size} {threads} {chunk}"
                );
            }
        }
    }
}

fn expand_as(bytes: &[u8], compression: Compression) -> Vec<u8> {
    if compression == Compression::None { bytes.to_vec() } else { expand(bytes) }
}

#[test]
fn the_sink_knows_both_digests() {
    for compression in [GZIP, ZSTD, Compression::None] {
        for size in SIZES {
            let input = sample(size);
            let mut sink = LayerSink::new(Vec::new(), compression, 2);
            input.chunks(100_000).for_each(|part| sink.write_all(part).unwrap());
            let (blob, digests) = sink.finish().unwrap();
            assert_eq!(digests.diff_id, Digest::of(&input));
            assert_eq!(digests.digest, Digest::of(&blob));
            assert_eq!((digests.size, digests.tar_size), (blob.len() as u64, size as u64));
            assert_eq!(blob, compress(&input, compression, 1, 1 << 16));
        }
    }
}

#[test]
fn a_failing_writer_is_an_error_not_a_hang() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(buf.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let input = sample(12 * BLOCK);
    for compression in [GZIP, ZSTD, Compression::None] {
        let mut sink = LayerSink::new(Full(1 << 20), compression, 4);
        let result = sink.write_all(&input).and_then(|()| sink.finish().map(drop));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull, "{compression:?}");
    }
    // Dropped half way: the threads end by themselves.
    let mut sink = LayerSink::new(io::sink(), GZIP, 4);
    sink.write_all(&input).unwrap();
}

#[test]
fn formats_are_known_by_their_first_bytes() {
    assert_eq!(detect(b""), None);
    assert_eq!(detect(b"BZh9 is how this text begins"), None);
    assert_eq!(detect(&compress(b"x", GZIP, 1, 9)), Some(Format::Gzip));
    assert_eq!(detect(&compress(b"x", ZSTD, 1, 9)), Some(Format::Zstd));
    assert_eq!(detect(&[0; 1024]), None, "an empty tar is a file of zeros");
    let tar = crate::LayerWriter::new(Vec::new());
    assert_eq!(detect(&tar.finish().unwrap()), None);
    let mut tar = crate::LayerWriter::new(Vec::new());
    let entry = crate::Entry { path: b"d".into(), kind: crate::EntryKind::Dir, meta: crate::Meta::mode(0o755) };
    tar.append(&entry, &mut io::empty()).unwrap();
    let tar = tar.finish().unwrap();
    assert_eq!(detect(&tar), Some(Format::Tar));
    assert_eq!(detect(&tar[..100]), None);
    assert_eq!(archive_format(&compress(&tar, GZIP, 1, 99)[..]).unwrap(), Some(Format::Gzip));
    assert_eq!(archive_format(&compress(&tar, ZSTD, 1, 99)[..]).unwrap(), Some(Format::Zstd));
    assert_eq!(archive_format(&tar[..]).unwrap(), Some(Format::Tar));
    assert_eq!(archive_format(&compress(b"only a file", GZIP, 1, 99)[..]).unwrap(), None);
    assert_eq!(archive_format(&b"\x1f\x8b\x08 and then nonsense"[..]).unwrap(), None);
}

#[test]
fn members_are_joined_and_only_zeros_may_follow() {
    let (a, b) = (compress(b"one ", GZIP, 1, 9), compress(b"two", GZIP, 1, 9));
    assert_eq!(expand(&[&a[..], &b, &[0; 700]].concat()), b"one two");
    let z = [compress(b"one ", ZSTD, 1, 9), compress(b"two", ZSTD, 1, 9)].concat();
    assert_eq!(expand(&z), b"one two");
    let read = |bytes: &[u8]| decompress(Format::Gzip, bytes, None).read_to_end(&mut Vec::new());
    assert!(read(&[&a[..], b"tail"].concat()).is_err());
    assert!(read(&a[..a.len() - 1]).is_err(), "cut short");
    let mut wrong = a.clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert!(read(&wrong).is_err(), "wrong length");
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = vec![0; 8 << 20];
    for compression in [GZIP, ZSTD] {
        let bomb = compress(&zeros, compression, 1, 1 << 16);
        let format = detect(&bomb).unwrap();
        let error = decompress(format, &bomb[..], Some(1 << 20)).read_to_end(&mut Vec::new()).unwrap_err();
        let inner = error.get_ref().and_then(|e| e.downcast_ref::<LayerError>());
        assert!(matches!(inner, Some(LayerError::Limit { limit: 1_048_576, .. })), "{error}");
        let whole = decompress(format, &bomb[..], Some(8 << 20)).read_to_end(&mut Vec::new());
        assert_eq!(whole.unwrap(), 8 << 20, "exactly the limit is allowed");
    }
}

proptest! {
    #[test]
    fn noise_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (format, magic) in [
            (Format::Gzip, &b"\x1f\x8b\x08"[..]),
            (Format::Bzip2, b"BZh91AY&SY"),
            (Format::Xz, b"\xfd7zXZ\0\0\x04"),
            (Format::Zstd, b"\x28\xb5\x2f\xfd"),
        ] {
            let n = magic.len().min(bytes.len());
            bytes[..n].copy_from_slice(&magic[..n]);
            let _ = decompress(format, &bytes[..], Some(1 << 20)).read_to_end(&mut Vec::new());
            let _ = archive_format(&bytes[..]);
        }
    }
}

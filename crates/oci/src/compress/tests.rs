//! Codecs: the same bytes always, read back by us, limits kept.

use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::*;
use crate::layer::LayerError;
use crate::{Digest, LayerSink};

/// Text, noise and zeros in turn, 128 KiB of each, the same on every machine.
fn sample(len: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(len + 64);
    while out.len() < len {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        match (out.len() >> 17) % 3 {
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
        "e3b0c44298fc ed52261e8913 730331a22960 1eceb7f86f4d",
        "ac73670af3ab d4acb5933069 f77e5609be14 eb9ebe5dddde",
        "ac73670af3ab f291173c2821 aca35c3501cb dc8defd99011",
        "ac73670af3ab 01d1183d628c a701eae64881 a764a7e4ef66",
        "f96deff18160 bf70d8167273 94fbb471a6e0 6a6b769fab21",
        "f96deff18160 67da863e1ebd d021f7675467 87522431489b",
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

#[test]
fn ratios_are_bounded() {
    let zeros = vec![0; 8 << 20];
    let within = |compression, ratio, free| {
        let bomb = compress(&zeros, compression, 1, 1 << 16);
        let bounds = Bounds { size: u64::MAX, ratio, free };
        let read = decompress_within(detect(&bomb).unwrap(), &bomb[..], bounds).read_to_end(&mut Vec::new());
        read.map_err(|e| e.to_string())
    };
    for compression in [GZIP, ZSTD] {
        assert!(within(compression, 250, 1 << 20).unwrap_err().contains("250 bytes for each compressed one"));
        assert_eq!(within(compression, 250, 8 << 20), Ok(8 << 20), "what is free is free");
    }
    // A gzip of zeros is no bomb as layers go, whatever its size; a zstd of them may be.
    let Bounds { ratio, .. } = Bounds::layer(0);
    assert_eq!(within(GZIP, ratio, 0), Ok(8 << 20));
    assert!(within(ZSTD, ratio, 1 << 20).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_mixture_comes_back(
        parts in proptest::collection::vec((0..3_u8, 0..300_000_usize), 0..12), level in 1..=9_u32, threads in 1..4_usize,
    ) {
        let source = sample(3 << 17);
        let mut input = Vec::new();
        for (kind, len) in parts {
            let from = usize::from(kind) << 17;
            input.extend(source[from..from + (1 << 17)].iter().cycle().take(len));
        }
        let gzip = compress(&input, Compression::Gzip { level }, threads, 70_000);
        prop_assert!(expand(&gzip) == input);
        let zstd = compress(&input, Compression::Zstd { level: level as i32 }, threads, 70_000);
        prop_assert!(expand(&zstd) == input);
    }

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

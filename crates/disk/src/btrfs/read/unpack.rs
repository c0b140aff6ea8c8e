//! Data that is packed: zlib and Zstandard as they are, LZO in segments of a block.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};

use super::lzo;
use crate::ext4::raw::get32;

/// The largest window of a Zstandard stream: an extent is not longer.
const WINDOW_LOG: u32 = 17;

/// How data is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Zlib,
    Lzo,
    Zstd,
}

impl Packing {
    /// By its number.
    pub fn of(number: u8) -> Option<Packing> {
        [Packing::None, Packing::Zlib, Packing::Lzo, Packing::Zstd].get(usize::from(number)).copied()
    }

    /// Unpacks to `len` bytes; what is missing at their end is zeros. The error is what is wrong.
    pub fn unpack(self, packed: &[u8], len: usize, sector: usize) -> Result<Vec<u8>, &'static str> {
        let mut bytes = Vec::with_capacity(len);
        let limit = len as u64;
        let done = match self {
            Packing::None => {
                bytes.extend(&packed[..packed.len().min(len)]);
                true
            }
            Packing::Zlib => inflate(packed, len, &mut bytes).is_some(),
            Packing::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(packed).map(|decoder| decoder.single_frame());
                decoder.is_ok_and(|mut decoder| {
                    decoder.window_log_max(WINDOW_LOG).is_ok() && decoder.take(limit).read_to_end(&mut bytes).is_ok()
                })
            }
            Packing::Lzo => segments(packed, len, sector, &mut bytes).is_some(),
        };
        if !done {
            return Err("what is packed in it cannot be unpacked");
        }
        bytes.resize(len, 0);
        Ok(bytes)
    }
}

/// Unpacks a stream up to its end, or to `len` bytes. One that ends before is cut off.
fn inflate(packed: &[u8], len: usize, out: &mut Vec<u8>) -> Option<()> {
    out.resize(len, 0);
    let mut decoder = Decompress::new(true);
    let status = decoder.decompress(packed, out, FlushDecompress::None).ok()?;
    let there = usize::try_from(decoder.total_out()).ok()?;
    out.truncate(there);
    (status == Status::StreamEnd || there == len).then_some(())
}

/// Unpacks segments, of which each is a block: the bytes of all of them come first, and the bytes of each before it. No
/// such number goes over the end of a block.
fn segments(packed: &[u8], len: usize, sector: usize, out: &mut Vec<u8>) -> Option<()> {
    const NUMBER: usize = 4;
    let total = get32(packed.get(..NUMBER)?, 0) as usize;
    let packed = packed.get(..total)?;
    let mut at = NUMBER;
    while at < total && out.len() < len {
        let left = sector - at % sector;
        if left < NUMBER {
            at += left;
            continue;
        }
        let size = get32(packed.get(at..at + NUMBER)?, 0) as usize;
        at += NUMBER;
        let most = sector.min(len - out.len());
        lzo::unpack(packed.get(at..at.checked_add(size)?)?, most, out)?;
        at += size;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_no_more() {
        let text = b"the same again, ".repeat(700);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(&text).unwrap();
        let mut zstd = zstd::bulk::compress(&text, 3).unwrap();
        // What is on disk goes up to the end of a block.
        zstd.resize(4096, 0);
        let mut zlib = zlib.finish().unwrap();
        zlib.resize(4096, 0);
        for (packing, packed) in [(Packing::Zlib, zlib), (Packing::Zstd, zstd)] {
            assert!(packing.unpack(&packed, text.len(), 4096).is_ok_and(|all| all == text), "{packing:?}");
            assert!(packing.unpack(&packed, 100, 4096).is_ok_and(|some| some == text[..100]), "{packing:?}");
            let more = packing.unpack(&packed, text.len() + 9, 4096);
            assert!(more.is_ok_and(|more| more.ends_with(&[0; 9])), "{packing:?}");
            assert!(packing.unpack(&packed[..20], text.len(), 4096).is_err(), "{packing:?}");
            assert!(packing.unpack(&[0xFF; 64], 4096, 4096).is_err(), "{packing:?}");
        }
        assert_eq!(Packing::of(4), None);
    }

    #[test]
    fn segments_have_numbers_that_are_checked() {
        // Two segments of literals.
        let literals =
            |n: u8, len: usize| [&[u8::try_from(len + 17).unwrap()][..], &vec![n; len], &[17, 0, 0]].concat();
        let (one, two) = (literals(b'a', 100), literals(b'b', 50));
        let mut packed = vec![0; 4];
        for segment in [&one, &two] {
            packed.extend((segment.len() as u32).to_le_bytes());
            packed.extend(segment);
        }
        let total = (packed.len() as u32).to_le_bytes();
        packed[..4].copy_from_slice(&total);
        let unpacked = Packing::Lzo.unpack(&packed, 4096, 4096).unwrap();
        assert_eq!(unpacked[..150], [vec![b'a'; 100], vec![b'b'; 50]].concat());
        for (at, value) in [(0, 0xFF), (4, 0xFF), (7, 0xFF), (8, 0xFF)] {
            let mut wrong = packed.clone();
            wrong[at] = value;
            assert!(Packing::Lzo.unpack(&wrong, 4096, 4096).is_err(), "{at}");
        }
        assert!(Packing::Lzo.unpack(&[1, 0], 4096, 4096).is_err());
    }
}

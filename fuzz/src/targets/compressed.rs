//! Streams of any compression: output is bounded, whatever the input says.

use std::io::Read;

use kiln_oci::compress::{archive_format, decompress, detect};

const LIMIT: u64 = 1 << 20;

/// Detects and decompresses.
pub fn run(bytes: &[u8]) {
    let known = detect(bytes);
    let archive = archive_format(bytes).expect("a slice can always be read");
    assert!(archive.is_none() || archive == known, "an archive has the compression its first bytes say");
    let Some(format) = known else { return };
    let mut out = Vec::new();
    let read = decompress(format, bytes, Some(LIMIT)).read_to_end(&mut out);
    assert!(out.len() as u64 <= LIMIT, "the limit holds");
    if read.is_ok() {
        let mut again = Vec::new();
        // One byte at a time: where reads are cut must not show.
        let mut slow = decompress(format, Slow(bytes), Some(LIMIT));
        assert_eq!(slow.read_to_end(&mut again).ok(), Some(again.len()), "what can be read can be read slowly");
        assert_eq!(again, out);
    }
}

struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = buf.len().min(1);
        self.0.read(&mut buf[..n])
    }
}

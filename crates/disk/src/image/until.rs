//! Writing that ends when somebody wants it to: a disk may take minutes to compress.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{Options, Source, write};
use crate::error::{DiskError, Result};
use crate::io::{ReadAt, WriteAt};

/// How often the caller is asked whether to stop.
const GLANCE: Duration = Duration::from_millis(20);

/// A disk that nothing more is read of once it is to stop.
struct Stoppable<'a> {
    inner: &'a dyn Source,
    stop: &'a AtomicBool,
}

impl Stoppable<'_> {
    fn going_on(&self) -> io::Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(io::Error::other("stopped")),
            false => Ok(()),
        }
    }
}

impl ReadAt for Stoppable<'_> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.going_on()?;
        self.inner.read_at(buf, offset)
    }
}

impl Source for Stoppable<'_> {
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        self.going_on()?;
        self.inner.data(from)
    }
}

/// As [`write`], on a thread of its own, while this one asks `stopped`, often: once it says so no more is read, and what
/// was written so far is of no use.
///
/// # Errors
/// [`DiskError::Stopped`]; else those of [`write`].
pub fn write_until(
    source: &dyn Source,
    out: &mut (dyn WriteAt + Send),
    options: &Options,
    stopped: &dyn Fn() -> bool,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let source = Stoppable { inner: source, stop: &stop };
    let written = thread::scope(|scope| {
        let writing = scope.spawn(|| write(&source, out, options));
        while !writing.is_finished() {
            if stopped() {
                stop.store(true, Ordering::Relaxed);
            }
            thread::sleep(GLANCE);
        }
        writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    match stop.load(Ordering::Relaxed) {
        true => Err(DiskError::Stopped),
        false => written,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::image::Format;

    /// A disk without an end that anybody would live to see, each byte of it one: 64 GiB.
    struct Long(AtomicU64);

    impl ReadAt for Long {
        fn len(&self) -> io::Result<u64> {
            Ok(64 << 30)
        }

        fn read_at(&self, buf: &mut [u8], _: u64) -> io::Result<usize> {
            self.0.fetch_add(1, Ordering::Relaxed);
            buf.fill(1);
            Ok(buf.len())
        }
    }

    impl Source for Long {}

    /// Nothing is kept.
    struct Nowhere(u64);

    impl WriteAt for Nowhere {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0)
        }

        fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
            self.0 = self.0.max(offset + data.len() as u64);
            Ok(())
        }

        fn zero_at(&mut self, offset: u64, len: u64) -> io::Result<()> {
            self.0 = self.0.max(offset + len);
            Ok(())
        }
    }

    #[test]
    fn every_format_ends_in_the_middle_of_a_disk() {
        for (name, format) in [("raw", Format::Raw), ("qcow2", Format::Qcow2), ("vhd", Format::VhdFixed)] {
            let disk = Long(AtomicU64::new(0));
            // It is stopped once it has begun to read.
            let stopped = || disk.0.load(Ordering::Relaxed) > 1;
            let error = write_until(&disk, &mut Nowhere(0), &Options::new(format), &stopped).unwrap_err();
            assert!(matches!(error, DiskError::Stopped), "{name}: {error}");
        }
    }

    #[test]
    fn what_nobody_stops_is_written_as_ever() {
        let disk = vec![7_u8; 100_000];
        let (mut one, mut other) = (Vec::new(), Vec::new());
        write(&disk, &mut one, &Options::new(Format::Qcow2)).unwrap();
        write_until(&disk, &mut other, &Options::new(Format::Qcow2), &|| false).unwrap();
        assert!(one == other && !one.is_empty());
    }

    #[test]
    fn its_own_failure_is_told_as_such() {
        let error = write_until(&vec![1_u8; 10 << 10], &mut Full, &Options::new(Format::Raw), &|| false).unwrap_err();
        assert!(matches!(error, DiskError::Write { .. }), "{error}");
    }

    /// A device without space.
    struct Full;

    impl WriteAt for Full {
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn zero_at(&mut self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
}

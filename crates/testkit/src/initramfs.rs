//! An initramfs in the kernel's format (cpio, "newc"), by hand.
//!
//! The format: `Documentation/driver-api/early-userspace/buffer-format.rst` of Linux.

/// An archive that grows. Numbers of devices are as `mknod` takes them.
#[derive(Debug, Default)]
pub struct Initramfs(Vec<u8>);

impl Initramfs {
    /// With nothing in it.
    pub fn new() -> Initramfs {
        Initramfs::default()
    }

    /// With these directories, parents first.
    #[must_use]
    pub fn dirs(self, names: &[&str]) -> Initramfs {
        names.iter().fold(self, |all, name| all.entry(name, 0o040_755, (0, 0), &[]))
    }

    /// With a file.
    #[must_use]
    pub fn file(self, name: &str, mode: u32, data: impl AsRef<[u8]>) -> Initramfs {
        self.entry(name, 0o100_000 | mode, (0, 0), data.as_ref())
    }

    /// With a character device.
    #[must_use]
    pub fn device(self, name: &str, numbers: (u32, u32)) -> Initramfs {
        self.entry(name, 0o020_600, numbers, &[])
    }

    /// The archive.
    pub fn finish(self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]).0
    }

    fn entry(mut self, name: &str, mode: u32, (major, minor): (u32, u32), data: &[u8]) -> Initramfs {
        let size = |n: usize| u32::try_from(n).expect("a file of less than 4 GiB");
        let fields = [0, mode, 0, 0, 1, 0, size(data.len()), 0, 0, major, minor, size(name.len()) + 1, 0];
        let out = &mut self.0;
        out.extend_from_slice(b"070701");
        fields.iter().for_each(|f| out.extend_from_slice(format!("{f:08x}").as_bytes()));
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(4), 0);
        self
    }
}
